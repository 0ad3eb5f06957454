"""What became of every message, read from the object store and the worker's log alone, without the product's code."""

import asyncio
import base64
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from obstore.store import S3Store

from fuzz.parts import BAIT, SECRET, TENANTS, Hostile

Address: TypeAlias = tuple[str, str, int | str]
"""Tenant, job, index."""
Place: TypeAlias = tuple[str, str]
"""Queue and position, as the broker returned them."""
_Key = TypeVar("_Key", Place, tuple[str, str, str])

_MAX_CONCURRENT_READS = 32
_MAX_SAMPLED_LETTERS = 300
"""Dead letters of either kind whose content is compared."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TENANT = "|".join(TENANTS)
_KEYS = re.compile(
    rf"pools/[a-z0-9-]+(\.json|/workers/[^/]+\.json)"
    rf"|(open|markers/[a-z]+)/({_TENANT})/{_NAME}(/{_NAME})?"
    r"|clock/[0-9a-f]{2}"
    rf"|dead/{_NAME}/{_NAME}"
    rf"|tenants/({_TENANT})/dead/{_NAME}/{_NAME}\.json"
    rf"|tenants/({_TENANT})/jobs/{_NAME}/"
    r"(job\.json|cursor\.json|sealed\.json|summary\.json|segments/[0-9a-z-]+\.jsonl|bodies/[A-Za-z0-9._-]+|answers/[A-Za-z0-9._~%-]+\.json)"
)
_UPWARDS = frozenset({"", ".", ".."})
_RECORDS = re.compile(r"tenants/([^/]+)/jobs/([^/]+)/(?:segments|answers)/[^/]+")
_ADDRESSED = re.compile(r"tenants/([^/]+)/dead/([^/]+)/(.+)\.json")
_ENDS = re.compile(rf"{_RECORDS.pattern}|{_ADDRESSED.pattern}|dead/[^/]*/.*")


@dataclass
class Store:
    """What is stored."""

    keys: list[str] = field(default_factory=list)
    records: defaultdict[Address, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    letters: set[Place] = field(default_factory=set)
    addressed: set[tuple[str, str, str]] = field(default_factory=set)
    """Addresses of the dead letters that have one; indexes as text."""
    leaks: list[str] = field(default_factory=list)
    """Objects that contain the bait's secret and should not."""


async def read_store(s3: S3Store, root: str) -> Store:
    """Everything that is under that root."""
    found = Store()
    async for batch in s3.list(prefix=root + "/"):
        found.keys += [each["path"].removeprefix(root + "/") for each in batch]
    gate = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def read(key: str) -> None:
        async with gate:
            data = await _read(s3, f"{root}/{key}")
        _note(found, key, data)

    await asyncio.gather(*(read(key) for key in found.keys if _ENDS.fullmatch(key)))
    return found


def _note(store: Store, key: str, data: bytes) -> None:
    """Note the end of a message that is in the object at that key."""
    shown = [data]
    if (record := _RECORDS.fullmatch(key)) is not None:
        for line in data.splitlines():
            found = json.loads(line)
            store.records[record[1], record[2], found["backburner"]["index"]].append(found)
        if (record[1], record[2]) == BAIT[:2]:
            return
    else:
        shown.append(_raw(json.loads(data)))
        if (letter := _ADDRESSED.fullmatch(key)) is not None:
            store.addressed.add((letter[1], letter[2], letter[3]))
        else:
            _, queue, position = key.split("/", 2)
            store.letters.add((queue, position))
    if any(SECRET.encode() in one for one in shown):
        store.leaks.append(key)


async def compare_letters(s3: S3Store, root: str, store: Store, sent: Mapping[Place, Hostile]) -> list[str]:
    """Read some dead letters: each has a reason, and holds the message's own bytes, or its request's envelope."""
    wrong = []
    for place in _some(store.letters):
        letter = json.loads(await _read(s3, f"{root}/dead/{'/'.join(place)}"))
        if place not in sent:
            wrong.append(f"{place}: never sent")
        elif not _has_reason(letter):
            wrong.append(f"{place}: has no reason")
        elif letter.get("envelope") is None and _raw(letter) != (sent[place].value or b""):
            wrong.append(f"{place}: holds other bytes")
    for address in _some(store.addressed):
        letter = json.loads(await _read(s3, f"{root}/tenants/{address[0]}/dead/{address[1]}/{address[2]}.json"))
        envelope = letter.get("envelope") or {}
        if not _has_reason(letter):
            wrong.append(f"{address}: has no reason")
        elif (envelope.get("tenant"), envelope.get("job"), str(envelope.get("index"))) != address:
            wrong.append(f"{address}: holds another's envelope, or none")
    return wrong


def leaks_of_log(log: Path) -> list[str]:
    """The lines of a worker's log that contain the bait's secret."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return [f"{log.name}:{number}" for number, line in enumerate(lines, 1) if SECRET in line]


def wrong_keys(store: Store) -> list[str]:
    """Keys that nothing should have written: of no known form, of a stranger, or with a step upwards.

    Two dots inside of an answer's name are not one: `..%2Fx.json` is what any client computes for that custom_id.
    """
    return [key for key in store.keys if _UPWARDS.intersection(key.split("/")) or _KEYS.fullmatch(key) is None]


def judge(store: Store, sent: Mapping[Place, Hostile]) -> dict[str, list[str]]:
    """Breaches by name: messages without an end, with several, good ones without their answer, ends of nothing."""
    missing, several, unanswered = list[str](), list[str](), list[str]()
    lines = _by_position(store.records)
    claims: defaultdict[Address, list[str]] = defaultdict(list)
    positions = 0
    for place, message in sent.items():
        description = f"{message.kind} at {'/'.join(place)}: {(message.value or b'')[:200]!r}"
        address = _address(message.value)
        own = lines.get(place[1], [])
        ends = len(own) + (place in store.letters)
        positions += ends
        if ends > 1:
            several.append(description)
        if ends == 0:
            if address is None:
                missing.append(description)
            else:
                claims[address].append(description)
        if message.good is not None:
            found = own or (store.records.get(address, []) if address else [])
            if not any(_answers(record, message) for record in found):
                unanswered.append(f"{description} got {str(found)[:300]}")
    for address, descriptions in claims.items():
        short = len(descriptions) - len(store.records.get(address, ()))
        if short > 0:
            missing += descriptions[:short]
        elif short < 0:
            several += descriptions
    # A letter that has an address exists beside the record of its error, and counts with it.
    failed = {
        (tenant, job, str(index))
        for (tenant, job, index), records in store.records.items()
        if any(not record["response"] for record in records)
    }
    counted = positions + sum(len(store.records.get(address, ())) for address in claims)
    total = sum(map(len, store.records.values())) + len(store.letters)
    return {
        "without an end": missing,
        "with several ends": several,
        "good and not answered": unanswered,
        "letters without their error": [str(one) for one in store.addressed if one not in failed],
        "ends of nothing that was sent": [f"{total - counted} of {total}"] if total != counted else [],
    }


def by_kind(store: Store, sent: Mapping[Place, Hostile]) -> dict[str, Counter[str]]:
    """For the table: of each kind how many were answered, refused, dead-lettered."""
    lines = _by_position(store.records)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for place, message in sent.items():
        found = [*lines.get(place[1], ()), *store.records.get(_address(message.value) or ("", "", ""), ())]
        end = "letters" if place in store.letters else "answers" if any(one["response"] for one in found) else "errors"
        counts[message.kind].update(["messages", end])
    return counts


async def _read(s3: S3Store, key: str) -> bytes:
    answer = await s3.get_async(key)
    return bytes(await answer.bytes_async())


def _some(found: Collection[_Key]) -> list[_Key]:
    return random.Random(0).sample(sorted(found), min(_MAX_SAMPLED_LETTERS, len(found)))


def _has_reason(letter: Mapping[str, Any]) -> bool:
    return bool(letter["code"] and letter["message"] and letter["worker"])


def _raw(letter: Mapping[str, Any]) -> bytes:
    """The message's own bytes, where the letter holds them."""
    return base64.b64decode(letter.get("raw") or "")


def _by_position(records: Mapping[Address, Sequence[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Records of plain lines, whose index is where the message lay."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for (_, job, index), several in records.items():
        if job.startswith("stream-"):
            found[str(index)] += several
    return found


def _answers(record: dict[str, Any], message: Hostile) -> bool:
    assert message.good is not None
    if record["custom_id"] != message.good.custom_id or not record["response"]:
        return False
    return message.good.token in json.dumps(record["response"]["body"])


def _address(value: bytes | None) -> Address | None:
    """The address that an envelope claims; whether anything may be there is another question."""
    try:
        found = json.loads((value or b"").decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "v" not in found:
        return None
    parts: Iterable[Any] = (found.get("tenant"), found.get("job"), found.get("index"))
    tenant, job, index = parts
    if (
        isinstance(tenant, str)
        and isinstance(job, str)
        and isinstance(index, (int, str))
        and not isinstance(index, bool)
    ):
        return tenant, job, index
    return None
