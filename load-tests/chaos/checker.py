"""The independent checker: compares the store and the queue with what was asked for.

It shares no code with the product: it knows docs/schemas, docs/asyncapi.json and the layout in docs/architecture.md.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from chaos import answers, records
from chaos.book import Asked, Book, Expect, Told, ToldFile, ToldLine
from chaos.objects import Objects
from chaos.queue_state import QueueState
from chaos.records import JobObjects, Malformed, Record

_MAX_SHOWN_BREACHES = 12
"""Breaches of one kind that are shown one by one."""
_LETTER = re.compile(r"tenants/(?P<tenant>[^/]+)/dead/(?P<job>[^/]+)/(?P<name>.+)")
_CODES = {Expect.REFUSED: "invalid_request", Expect.POISON: "poison"}
"""The error that a request ends with which is not to be answered."""


@dataclass(slots=True)
class Verdict:
    """What the checker found. No breach means that every promise was kept."""

    breaches: list[str] = field(default_factory=list)
    accepted: int = 0
    visible: int = 0
    answered: int = 0
    failed: int = 0
    """Error records that count."""
    letters: int = 0
    """Dead letters."""
    stored_twice: int = 0
    """Records beyond the first of their request, which no reader sees."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.breaches


def check(book: Book, objects: Objects, queue: QueueState, *, fake: bool = True) -> Verdict:
    """Everything that was accepted has its one record, nothing else has, and the queue is done with all of it."""
    return _Check(book, objects, queue, fake=fake).run()


class _Check:
    def __init__(self, book: Book, objects: Objects, queue: QueueState, *, fake: bool) -> None:
        self._book = book
        self._objects = objects
        self._queue = queue
        self._fake = fake
        self._verdict = Verdict()
        self._reported: Counter[str] = Counter()
        self._poisoned: set[tuple[str, str]] = set()
        """Job and index of each request that has to be a dead letter."""

    def run(self) -> Verdict:
        everything = self._book.everything()
        self._verdict.accepted = sum(asked.accepted for asked in everything)
        for several in (*self._book.jobs.values(), [*self._book.singles, *self._book.raw]):
            _distinct(asked.custom_id for asked in several)
        found = {job.job: job for job in records.find_jobs(self._objects) if self._is_ours(job)}
        for name, asked in self._book.jobs.items():
            self._job(found.pop(name, JobObjects(self._book.tenant, name)), asked)
        expected, unsure = self._expected()
        for name, at in expected.items():
            job = self._with_unlisted(found.pop(name, JobObjects(self._book.tenant, name)), at)
            self._unsealed(job, at, unsure)
        for job in found.values():
            self._unsealed(job, {}, unsure)
        self._letters()
        for prefix in ("markers/", "open/", "pending/"):
            for key in self._objects.keys(prefix):
                self._breach(f"left in {prefix}", f"{key} was left behind")
        self._verdict.breaches += self._queue.breaches
        self._report_how_many_more()
        return self._verdict

    def _is_ours(self, job: JobObjects) -> bool:
        if job.tenant == self._book.tenant:
            return True
        self._breach("invented", f"there is a job {job.job} of a tenant {job.tenant}, which does not exist")
        return False

    # --- jobs with a manifest -----------------------------------------------------------------------------------

    def _job(self, job: JobObjects, asked: Sequence[Asked]) -> None:
        if job.sealed is None or job.summary is None:
            self._breach("not frozen", f"job {job.job} has no {'seal' if job.sealed is None else 'summary'}")
            return
        try:
            sealed = records.read_json(self._objects, job.sealed)
            summary = records.read_json(self._objects, job.summary)
            listed = {f"tenants/{job.tenant}/jobs/{job.job}/segments/{name}" for name in summary["segments"]}
            found = list(records.in_key_order(self._objects, listed & {*job.segments}))
            late = list(records.in_key_order(self._objects, {*job.segments} - listed))
            counts, missing = summary["counts"], records.expand(summary.get("missing") or "")
        except (Malformed, KeyError, ValueError) as error:
            self._breach("malformed", f"job {job.job}: {error}")
            return
        for key in sorted(listed - {*job.segments}):
            self._breach("segment gone", f"the summary of {job.job} lists {key}, which is not there")
        if job.answers:
            self._breach("invented", f"job {job.job} has answer objects; its records belong into segments")
        if sealed.get("total") != len(asked):
            self._breach("wrong total", f"job {job.job} was sealed with {sealed.get('total')}, not {len(asked)}")
        if summary.get("state") != "completed" or missing:
            self._breach("cut off", f"job {job.job} is {summary.get('state')}, missing {len(missing)}")
        seen = records.visible(found)
        self._verdict.stored_twice += len(found) + len(late) - len(seen)
        self._agree(job.job, asked, seen)
        ok = sum(record.response is not None for record in seen.values())
        stated = counts.get("total"), counts.get("completed"), counts.get("failed")
        if stated != (len(asked), ok, len(asked) - ok):
            self._breach("wrong counts", f"job {job.job} reports {stated}, and has {ok} of {len(asked)} answered")
        if (told := self._book.told.get(job.job)) is not None:
            self._told(job.job, told, seen)

    def _told(self, batch: str, told: Told, seen: dict[int | str, Record]) -> None:
        """What the gateway tells of a batch has to be what is stored, each request once in one of its two files."""
        ok = sum(record.response is not None for record in seen.values())
        if (told.status, told.counts) != ("completed", (len(seen), ok, len(seen) - ok)):
            self._breach("told", f"batch {batch} is told as {told.status} {told.counts}, and has {ok} of {len(seen)}")
        lines = {line.custom_id: line for line in told.lines}
        if len(lines) != len(told.lines):
            self._breach("told", f"batch {batch} has {len(told.lines) - len(lines)} lines too many in its files")
        stored = {str(record.custom_id): record for record in seen.values()}
        for name in sorted(map(str, stored.keys() ^ lines.keys())):
            self._breach("told", f"{name} of batch {batch} has a line and no record, or a record and no line")
        for name in stored.keys() & lines.keys():
            if not _tells(lines[name], stored[name]):
                self._breach("told", f"the line of {name} of batch {batch} is not its record")

    def _agree(self, job: str, asked: Sequence[Asked], seen: dict[int | str, Record]) -> None:
        for index, record in seen.items():
            if not isinstance(index, int) or not 0 <= index < len(asked):
                self._breach("invented", f"job {job} has a record of an index {index!r} in {record.key}")
        for index, one in enumerate(asked):
            self._one(job, index, one, seen.get(index))

    # --- single requests and streams ----------------------------------------------------------------------------

    def _expected(self) -> tuple[dict[str, dict[int | str, Asked]], dict[str, Asked]]:
        """What must have records, by job and index, from receipts and the queue's own log; and what may have, by name.

        A sender without an acknowledgement, since the broker was away, may or may not have succeeded.
        """
        expected: dict[str, dict[int | str, Asked]] = {}
        asked_for = {asked.custom_id: asked for asked in (*self._book.singles, *self._book.raw)}
        unsure = dict(asked_for)
        for asked in asked_for.values():
            if asked.accepted and asked.job is not None and asked.index is not None:
                expected.setdefault(asked.job, {})[asked.index] = asked
                del unsure[asked.custom_id]
        if self._queue.messages is None:
            return expected, unsure
        held = set()
        for message in self._queue.messages:
            held.add(message.custom_id)
            if (asked_too := asked_for.get(message.custom_id)) is not None:
                expected.setdefault(message.job, {})[message.index] = asked_too
            elif message.job not in self._book.jobs:
                self._breach("invented", f"the queue holds {message.custom_id!r}, which nobody sent")
        for asked in asked_for.values():
            if asked.accepted and asked.custom_id not in held:
                self._breach("lost", f"{asked.custom_id} was accepted, and the queue's log does not hold it")
        # The log holds all that was accepted.
        return expected, {}

    def _with_unlisted(self, job: JobObjects, asked: dict[int | str, Asked]) -> JobObjects:
        """The same with answers that are no part of a listing: they are found by their names, as readers find them.

        An object that SeaweedFS was writing into a new folder when it was killed can be read, and no listing has it.
        """
        if job.answers or job.segments:
            return job
        named = (f"tenants/{job.tenant}/jobs/{job.job}/answers/{one.custom_id}.json" for one in asked.values())
        return replace(job, answers=tuple(key for key in named if self._objects.read(key) is not None))

    def _unsealed(self, job: JobObjects, asked: dict[int | str, Asked], unsure: dict[str, Asked]) -> None:
        """A job without a manifest. One that left nothing but its manifest was never begun."""
        seen = self._seen(job)
        for index, record in seen.items():
            if index in asked:
                continue
            if (heard := unsure.get(record.custom_id or "")) is not None:
                self._one(job.job, index, heard, record)
            else:
                self._breach("invented", f"{record.key} holds {record.custom_id!r} at {index!r}, which nobody sent")
        for index, one in asked.items():
            self._one(job.job, index, one, seen.get(index))

    def _seen(self, job: JobObjects) -> dict[int | str, Record]:
        try:
            found = list(records.in_key_order(self._objects, (*job.segments, *job.answers)))
        except Malformed as error:
            self._breach("malformed", f"job {job.job}: {error}")
            return {}
        seen = records.visible(found)
        self._verdict.stored_twice += len(found) - len(seen)
        return seen

    # --- one request --------------------------------------------------------------------------------------------

    def _one(self, job: str, index: int | str, asked: Asked, record: Record | None) -> None:
        name = f"{job}/{index} ({asked.custom_id})"
        if asked.expect is Expect.POISON and not asked.redriven:
            self._poisoned.add((job, str(index)))
        if record is None:
            self._breach("lost", f"{name} has no record")
            return
        self._verdict.visible += 1
        if record.custom_id != asked.custom_id:
            self._breach("mixed up", f"{name} has the record of {record.custom_id!r}")
        if record.id != answers.request_id(self._book.tenant, job, index):
            self._breach("mixed up", f"{name} has a record with the id {record.id}")
        if record.response is None:
            self._verdict.failed += 1
            if asked.expect is Expect.ANSWER or record.code != _CODES[asked.expect]:
                self._breach("wrong end", f"{name} ended with the error {record.code}, expected {asked.expect}")
            return
        self._verdict.answered += 1
        if asked.expect is not Expect.ANSWER:
            self._breach("wrong end", f"{name} was answered, expected {asked.expect}")
        elif record.status != HTTPStatus.OK:
            self._breach("wrong end", f"{name} was answered with the status {record.status}")
        elif (why := answers.difference(asked.url, asked.body, record.response, fake=self._fake)) is not None:
            self._breach("mixed up", f"{name}: {why}")

    # --- dead letters -------------------------------------------------------------------------------------------

    def _letters(self) -> None:
        poisoned = set(self._poisoned)
        for key in self._objects.keys("dead/"):
            self._verdict.letters += 1
            self._breach("letter", f"{key} is the letter of a message without an address, and none was sent")
        for key in self._objects.keys("tenants/"):
            if (found := _LETTER.fullmatch(key)) is None:
                continue
            self._verdict.letters += 1
            if found["tenant"] != self._book.tenant:
                self._breach("letter", f"{key} is the letter of a tenant who does not exist")
                continue
            job, index = found["job"], found["name"].removesuffix(".json")
            if (job, index) not in poisoned:
                code = json.loads(self._objects.read(key) or b"{}").get("code")
                self._breach("letter", f"{key} ({code}) is the letter of a request that was not poison")
                continue
            poisoned.discard((job, index))
            letter = json.loads(self._objects.read(key) or b"{}")
            if letter.get("code") != "poison" or not letter.get("envelope"):
                self._breach("letter", f"{key} has {letter.get('code')}, expected poison with its envelope")
        for job, index in sorted(poisoned):
            self._breach("letter", f"the poison {job}/{index} has no dead letter")

    def _breach(self, kind: str, what: str) -> None:
        self._reported[kind] += 1
        if self._reported[kind] <= _MAX_SHOWN_BREACHES:
            self._verdict.breaches.append(f"{kind}: {what}")

    def _report_how_many_more(self) -> None:
        for kind, count in self._reported.items():
            if count > _MAX_SHOWN_BREACHES:
                self._verdict.breaches.append(f"{kind}: {count - _MAX_SHOWN_BREACHES} more")


def _tells(line: ToldLine, record: Record) -> bool:
    """Whether it is the record's line, in the right file; a failure is told as a response with its status and error."""
    if line.error is not None:
        return False
    if record.response is not None:
        return (line.file, line.status, line.body) == (ToldFile.OUTPUT, record.status, record.response)
    try:
        code = line.body["error"]["code"]
    except (KeyError, TypeError):
        return False
    failed = line.status is not None and line.status >= HTTPStatus.BAD_REQUEST
    return line.file is ToldFile.ERRORS and failed and bool(code == record.code)


def _distinct(custom_ids: Iterable[str]) -> None:
    twice = [name for name, count in Counter(custom_ids).items() if count > 1]
    if twice:
        raise ValueError(f"the harness used custom_ids twice: {twice[:_MAX_SHOWN_BREACHES]}")
