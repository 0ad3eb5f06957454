"""Stored result records, read by the documented layout alone: segments, summaries, answers."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.objects import Objects

JOB = re.compile(r"tenants/(?P<tenant>[^/]+)/jobs/(?P<job>[^/]+)/(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class Record:
    """One record and its place."""

    key: str
    index: int | str
    custom_id: str | None
    id: str
    response: Mapping[str, Any] | None
    """Its body."""
    status: int | None
    """HTTP's, of the response."""
    code: str | None
    """Of the error, where it is one."""


@dataclass(frozen=True, slots=True)
class JobObjects:
    """The keys below one job, in key order."""

    tenant: str
    job: str
    segments: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    sealed: str | None = None
    summary: str | None = None


class Malformed(Exception):
    """An object that does not match the documents."""


def find_jobs(objects: Objects) -> list[JobObjects]:
    """Every job that has left anything in the store."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for key in objects.keys("tenants/"):
        if (match := JOB.fullmatch(key)) is None:
            continue
        parts = found.setdefault((match["tenant"], match["job"]), {})
        parts.setdefault(match["rest"].partition("/")[0], []).append(key)
    return [
        JobObjects(
            tenant,
            job,
            segments=tuple(sorted(parts.get("segments", ()))),
            answers=tuple(sorted(parts.get("answers", ()))),
            sealed=next(iter(parts.get("sealed.json", ())), None),
            summary=next(iter(parts.get("summary.json", ())), None),
        )
        for (tenant, job), parts in found.items()
    ]


def read_json(objects: Objects, key: str) -> dict[str, Any]:
    """A JSON object. Raises `Malformed`."""
    data = objects.read(key)
    try:
        found = json.loads(data or b"")
    except ValueError as error:
        raise Malformed(f"{key} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Malformed(f"{key} is not a JSON object")
    return found


def read_records(objects: Objects, key: str) -> list[Record]:
    """The records of a segment or an answer object, in their order. Raises `Malformed`."""
    data = objects.read(key)
    if data is None:
        raise Malformed(f"{key} is gone")
    lines = data.split(b"\n")
    if key.endswith(".jsonl"):
        if lines.pop() != b"":
            raise Malformed(f"{key} does not end in a new line")
    else:
        lines = [data]
    return [_record(key, line) for line in lines]


def expand(text: str) -> set[int]:
    """The indexes in `0-511,514`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def visible(records: Iterable[Record]) -> dict[int | str, Record]:
    """What a reader sees of records in key order: of each index a response before an error, then the first."""
    seen: dict[int | str, Record] = {}
    for record in records:
        there = seen.get(record.index)
        if there is None or (there.response is None and record.response is not None):
            seen[record.index] = record
    return seen


def in_key_order(objects: Objects, keys: Iterable[str]) -> Iterator[Record]:
    """The records of these objects, in key order."""
    for key in sorted(keys):
        yield from read_records(objects, key)


def _record(key: str, line: bytes) -> Record:
    try:
        found = json.loads(line)
        response, error = found.get("response"), found.get("error")
        if (response is None) == (error is None):
            raise Malformed(f"{key} has a record with both or neither of response and error")
        return Record(
            key=key,
            index=found["backburner"]["index"],
            custom_id=found["custom_id"],
            id=found["id"],
            response=None if response is None else response["body"],
            status=None if response is None else response["status_code"],
            code=None if error is None else error["code"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"{key} has a line that is not a result record: {error!r}") from error
