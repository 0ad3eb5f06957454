"""The audit log: each line is stored within seconds, an attack fills nothing, and nothing secret is in it."""

import asyncio
import json

import pytest
from structlog.testing import CapturingLogger
from waiting import until

from backburner.gateway.auth import audit_log
from backburner.gateway.auth.audit_log import Action, AuditLog
from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason
from backburner.storage.clock import OwnClock
from backburner_schemas.errors import StoreError

ALICE = Principal("acme", "alice", frozenset({Scope.READ}))
NOON = 1_795_867_200.0


async def lines(storage, tenant="acme", day=""):
    return [
        json.loads(line)
        async for one in storage.scan(f"tenants/{tenant}/audit/{day}")
        for line in (await storage.get(one.key)).data.splitlines()
    ]


async def test_what_a_caller_did_is_stored_at_the_end(storage):
    async with AuditLog(storage, now=lambda: NOON) as audit:
        audit.record(ALICE, Action.FILE_UPLOADED, "file-1", bytes=12)
        audit.record(Principal("other", "bob", frozenset()), Action.BATCH_CREATED, "batch_1", input=None)
    assert await lines(storage) == [
        {
            "at": "2026-11-28T12:00:00.000+00:00",
            "action": "file.uploaded",
            "subject": "alice",
            "target": "file-1",
            "bytes": 12,
        }
    ]
    assert [one["subject"] for one in await lines(storage, "other")] == ["bob"]
    assert len(await lines(storage, day="2026-11-28/")) == 1


async def test_what_a_caller_did_is_stored_soon(storage):
    async with AuditLog(storage, flush_seconds=0.01) as audit:
        audit.record(ALICE, Action.FILE_DELETED, "file-1")
        await until(lambda: lines(storage))


async def test_a_full_buffer_does_not_wait_for_the_timer(storage):
    async with AuditLog(storage, flush_seconds=3600) as audit:
        for number in range(5_000):
            audit.record(ALICE, Action.REQUEST_CREATED, f"{number}")
        found = await until(lambda: lines(storage))
    assert len(found) == 5_000


async def test_what_comes_during_a_flush_waits_for_the_next_one(storage, monkeypatch):
    audit, plain = AuditLog(storage), storage.put
    coming = iter(range(3))

    async def put(key, data):
        if (number := next(coming, None)) is not None:
            audit.record(ALICE, Action.REQUEST_CREATED, f"during {number}")
        await plain(key, data)

    monkeypatch.setattr(storage, "put", put)
    audit.record(ALICE, Action.REQUEST_CREATED, "before")
    await audit.flush()
    assert [one["target"] for one in await lines(storage)] == ["before"]
    await audit.flush()
    assert [one["target"] for one in await lines(storage)] == ["before", "during 0"]


async def test_two_writers_do_not_overwrite_each_other(storage):
    for _ in range(2):
        async with AuditLog(storage) as audit:
            audit.record(ALICE, Action.FILE_DELETED, "file-1")
            await audit.flush()
            audit.record(ALICE, Action.FILE_DELETED, "file-2")
    assert len(await lines(storage)) == 4


async def test_refusals_are_counted_and_not_listed(storage):
    async with AuditLog(storage, flush_seconds=3600) as audit:
        for _ in range(10_000):
            audit.refused(Reason.REVOKED_KEY, tenant="acme", subject="key_1")
        audit.denied(ALICE, Scope.WRITE)
    found = [(one["action"], one["reason"], one["subject"], one["count"]) for one in await lines(storage)]
    assert found == [("refused", "revoked_key", "key_1", 10_000), ("refused", "scope", "alice", 1)]
    assert audit.refusals == {Reason.REVOKED_KEY: 10_000, Reason.SCOPE: 1}


async def test_refusals_of_nobody_are_one_line_of_the_log(storage, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(audit_log, "log", log)
    async with AuditLog(storage, flush_seconds=3600) as audit:
        for _ in range(1_000):
            audit.refused(Reason.UNKNOWN_KEY)
    (call,) = log.calls
    assert call.kwargs == {"unknown_key": 1000}
    assert [one async for one in storage.scan("")] == []


async def test_kinds_of_refusals_are_bounded(storage):
    async with AuditLog(storage, flush_seconds=3600) as audit:
        for number in range(5_000):
            audit.refused(Reason.SCOPE, tenant="acme", subject=f"user-{number}")
    assert len(await lines(storage)) == 1_000


async def test_a_line_stays_a_line_whatever_is_in_it(storage):
    hostile = 'x\n{"action":"forged"}\r\x00\u2028"' + "y" * 1_000
    async with AuditLog(storage, flush_seconds=3600) as audit:
        audit.record(ALICE, Action.FILE_UPLOADED, hostile, filename=hostile)
    (only,) = await lines(storage)
    assert only["target"] == only["filename"] == hostile[:255]


class Away:
    """A store that takes nothing until it is told to."""

    def __init__(self, storage):
        self._storage = storage
        self.clock = storage.clock
        self.away = True
        self.tries = 0

    async def put(self, key, data):
        self.tries += 1
        if self.away:
            raise StoreError
        await self._storage.put(key, data)


async def test_an_outage_loses_nothing_and_order_stays(storage):
    away = Away(storage)
    async with AuditLog(away, flush_seconds=3600) as audit:
        audit.record(ALICE, Action.FILE_DELETED, "1")
        await audit.flush()
        audit.record(ALICE, Action.FILE_DELETED, "2")
        away.away = False
    assert [one["target"] for one in await lines(storage)] == ["1", "2"]
    assert audit.lost == 0


async def test_a_long_outage_does_not_fill_the_memory(storage, monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.audit_log._MAX_WAITING_LINES", 10)
    away = Away(storage)
    async with AuditLog(away, flush_seconds=3600) as audit:
        for number in range(25):
            audit.record(ALICE, Action.FILE_DELETED, f"{number}")
        assert audit.lost == 15
        away.away = False
    assert [one["target"] for one in await lines(storage)] == [f"{number}" for number in range(10)]


async def test_a_full_buffer_and_a_store_that_is_away_do_not_spin(storage, monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.audit_log._MAX_OBJECT_LINES", 2)
    away = Away(storage)
    async with AuditLog(away, flush_seconds=3600) as audit:
        for number in range(3):
            audit.record(ALICE, Action.FILE_DELETED, f"{number}")
        await until(lambda: away.tries)
        for _ in range(100):
            await asyncio.sleep(0)
        assert away.tries == 1
        away.away = False
    assert len(await lines(storage)) == 3


async def test_an_end_does_not_wait_for_ever(storage, monkeypatch, caplog):
    monkeypatch.setattr("backburner.gateway.auth.audit_log._CLOSE_SECONDS", 0.01)

    class Hanging:
        clock = OwnClock()

        async def put(self, key, data):
            await asyncio.Event().wait()

    async with AuditLog(Hanging(), flush_seconds=3600) as audit:
        audit.record(ALICE, Action.FILE_DELETED, "1")
    assert "before the end" in caplog.text


@pytest.mark.parametrize("action", Action)
def test_an_action_is_two_words_or_a_refusal(action):
    assert action is Action.REFUSED or action.value.count(".") == 1


async def test_a_failure_that_nobody_foresaw_ends_no_audit_log(storage, monkeypatch):
    put, failures = storage.put, ["once"]

    async def failing(key, data):
        if failures:
            failures.pop()
            raise RuntimeError("unforeseen")
        await put(key, data)

    monkeypatch.setattr(storage, "put", failing)
    async with AuditLog(storage, flush_seconds=0.01) as audit:
        audit.record(ALICE, Action.FILE_DELETED, "file-1")
        await until(lambda: not failures, "the failure")
        audit.record(ALICE, Action.FILE_DELETED, "file-2")

        async def stored():
            return "file-2" in [one["target"] for one in await lines(storage)]

        await until(stored, "the line after it, without an end of the log")
