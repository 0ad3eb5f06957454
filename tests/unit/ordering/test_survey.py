"""Reading a stored input: faults are found, and what is accepted is in the index with its place."""

import json
from hashlib import sha256

import pytest
from planned_input import CHAT, line_of

from backburner.inputs.validation import Checker, canonical
from backburner.ordering.index import OrderIndex
from backburner.ordering.survey import survey
from backburner_schemas.request import Endpoint, parse_request


class PoolsOfModels:
    async def pool_for(self, model):
        return f"pool-{model}"


async def read(data, size=100, **options):
    async def pieces():
        for start in range(0, len(data), size):
            yield data[start : start + size]

    checker, index = Checker(max_bytes=5000, router=PoolsOfModels()), OrderIndex()
    try:
        found = await survey(pieces(), checker, index, max_bytes=5000, **options)
        with index.plan(found.digest) as plan:
            return found, sorted(plan.entries()), dict(plan.pools)
    finally:
        checker.close()
        index.close()


def rolling(lines):
    return sha256(b"".join(canonical(parse_request(line)) + b"\n" for line in lines)).digest()


@pytest.mark.parametrize("size", [1, 100, 100_000])
async def test_accepted_lines_have_their_places_whatever_stands_between_them(size):
    lines = [
        line_of(0, "a"),
        line_of(1, "b", model="other"),
        line_of(2, "c"),
        b'  {"custom_id":"r3","url":"%b",' % CHAT.encode() + b'"body":{"model":"fake","messages":[]}}',
    ]
    data = b"\xef\xbb\xbf" + lines[0] + b"\r\n\n" + lines[1] + b"\n  \n" + lines[2] + b"\n" + lines[3]
    found, entries, pools = await read(data, size)
    assert not found.findings.total
    assert [data[entry.offset : entry.offset + entry.length] for entry in entries] == lines
    assert [entry.index for entry in entries] == [0, 1, 2, 3]
    assert pools == {"pool-fake": 3, "pool-other": 1}
    assert (found.count, found.digest.size, found.digest.sha256) == (4, len(data), sha256(data).digest())
    assert found.digest.lines_sha256 == rolling(lines)


async def test_lines_that_are_alike_may_travel_as_they_stand():
    data = b"".join(line_of(number, "a") + b"\n" for number in range(1000))
    _, entries, _ = await read(data)
    assert all(entry.verbatim for entry in entries)
    spaced = data.replace(b'{"custom_id": "r999"', b' {"custom_id": "r999"')
    _, entries, _ = await read(spaced)
    assert not entries[-1].verbatim


async def test_every_fault_is_found_with_its_line():
    lines = [line_of(0, "a"), b"{", line_of(0, "b"), b"", line_of(1, "x" * 6000), line_of(2, "c")]
    found, entries, _ = await read(b"\n".join(lines))
    assert [(finding.line, finding.code) for finding in found.findings] == [
        (2, "invalid_json"),
        (3, "duplicate_custom_id"),
        (5, "body_too_large"),
    ]
    assert [entry.offset for entry in entries] == [0, sum(len(line) + 1 for line in lines[:5])]


@pytest.mark.parametrize("space", [b"", b" "])
async def test_a_line_for_another_endpoint_is_not_accepted_where_one_is_asked_for(space):
    lines = [space + line_of(number, "a") for number in range(3)]
    lines[1] = lines[1].replace(b"chat/completions", b"completions").replace(b"messages", b"prompt")
    found, entries, _ = await read(b"\n".join(lines), endpoint=Endpoint.CHAT)
    assert [(one.line, one.custom_id, one.code) for one in found.findings] == [(2, "r1", "unknown_endpoint")]
    assert (found.count, len(entries)) == (2, 2)
    assert found.digest.lines_sha256 == rolling([lines[0], lines[2]])
    found, entries, _ = await read(b"\n".join(lines))
    assert (found.findings.total, len(entries)) == (0, 3)


async def test_it_says_how_far_it_is():
    reported = []
    data = b"".join(line_of(number, "a") + b"\n" for number in range(20))
    await read(data, 500, report=reported.append)
    assert reported == sorted(reported)
    assert reported[-1] == 20
    assert json.loads(data.splitlines()[-1])["custom_id"] == "r19"
