"""Fuzzing with batches: what no broker takes from a producer, a proxy puts into its answers, so that all of it is read.

In the end the worker lives and has taken no more memory than it may, and each good record has its answer, once.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from obstore.store import S3Store
from rich.console import Console
from rich.table import Table

from backburner.local.programs import store
from fuzz.batch_bytes import Record, batch
from fuzz.batch_wire import BatchWire
from fuzz.ends import Store, read_store
from fuzz.fetch_proxy import FetchProxy
from fuzz.hostile_batches import RECORDS_PER_BATCH, HostileBatches, MadeBatch
from fuzz.parts import LARGE_BYTES, Good
from fuzz.scenario import drained
from fuzz.stage import PARTITION_COUNT, POOL, PREFIX, ROOT, Queue, make_pool, servers, start_worker
from fuzz.wire import KafkaWire

_MAX_GROWTH_MB = 128
_WARM_BATCHES_COUNT = 500
"""Good ones, before the worker's memory is looked at."""
_MAX_CONCURRENT_SENDS = 16
_MAX_REFUSALS = 3
"""Of a form of which the broker took none: after these it is not asked any more."""
_MAX_SHOWN_PROBLEMS = 5
_SPLICED_ONLY = frozenset({"wrong count", "wrong last offset", "times of a broker", "key bomb", "value bomb"})
"""A broker that takes these may place what follows elsewhere, return nothing behind them, change them, or be so long
about them that nobody knows whether it took what was sent beside them: its fault."""
_NORMAL = f"{PREFIX}.{POOL}.normal"
_BYTES_PER_MB = 1024 * 1024


@dataclass
class _FormCount:
    sent: int = 0
    accepted: int = 0
    spliced: int = 0

    @property
    def reached(self) -> int:
        return self.accepted + self.spliced


@dataclass
class BatchVerdict:
    """What came out."""

    batches: int
    seed: int
    queue: Queue
    seconds: float
    good: int
    letters: int
    growth_mb: float
    forms: dict[str, _FormCount] = field(default_factory=dict)
    breaches: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was broken."""
        return not any(self.breaches.values())

    def write(self, path: Path | None) -> None:
        """Write it as JSON, if a file is named."""
        if path is not None:
            path.write_text(json.dumps({**asdict(self), "clean": self.clean}, indent=2) + "\n", encoding="utf-8")

    def show(self, console: Console) -> None:
        """The table, and a few of each kind of breach."""
        table = Table("form", "batches", "taken by the broker", "put into answers", "reached the worker")
        for form, count in sorted(self.forms.items()):
            numbers = count.sent, count.accepted, count.spliced, count.reached
            table.add_row(form, *(f"{number:,}" for number in numbers))
        console.print(table)
        for name, found in self.breaches.items():
            console.print(f"{name}: {len(found)}")
            for one in found[:_MAX_SHOWN_PROBLEMS]:
                console.print(f"    {one}", markup=False)
        console.print(
            f"fuzz: {self.batches:,} batches on {self.queue}, seed {self.seed}, {self.seconds:.0f} s: {self.good:,} "
            f"good records, {self.letters:,} dead letters, memory of the worker +{self.growth_mb:.0f} MB: "
            f"{'clean' if self.clean else 'BROKEN'}"
        )


def fuzz_batches(count: int, seed: int, queue: Queue) -> BatchVerdict:
    """Send so many, wait until the queue is empty, look at what became of their records."""
    with tempfile.TemporaryDirectory(prefix="backburner-fuzz-") as folder, servers(Path(folder), queue) as settings:
        return asyncio.run(_fuzz(count, seed, queue, settings, Path(folder)))


async def _fuzz(count: int, seed: int, queue: Queue, settings: dict[str, str], folder: Path) -> BatchVerdict:
    await make_pool()
    s3 = S3Store(
        store.RESULTS_BUCKET,
        endpoint=settings["BACKBURNER_STORE_ENDPOINT"],
        region=settings["AWS_REGION"],
        client_options={"allow_http": True},
    )
    broker = settings["BACKBURNER_QUEUE_URL"].removeprefix("kafka://")
    made = HostileBatches(seed, LARGE_BYTES)
    async with FetchProxy(int(broker.rpartition(":")[2])) as proxy:
        spliced: dict[tuple[str, int, int], MadeBatch] = {}
        proxy.spliced = spliced
        settings = {**settings, "BACKBURNER_QUEUE_URL": f"kafka://{proxy.bootstrap}"}
        sender = _Sender(broker, spliced)
        queue_end = KafkaWire(broker, PREFIX, POOL, PARTITION_COUNT)
        worker = start_worker(settings, folder / "worker.log")
        started = time.monotonic()
        try:
            await sender.send_all(made.plain() for _ in range(_WARM_BATCHES_COUNT))
            queue_end.expect(sender.ends)
            stuck = await drained(queue_end, worker)
            assert worker.pid is not None
            before = _reset_peak(worker.pid)
            proxy.shut.add(_NORMAL)
            await sender.send_all(made.batches(count))
            # Behind everything lies something good: what is set aside at the end of a log moves no offset.
            for partition in range(PARTITION_COUNT):
                await sender.send_group([(partition, made.plain())])
            queue_end.expect(sender.ends)
            proxy.shut.clear()
            stuck = stuck or await drained(queue_end, worker)
            alive = worker.exit_status() is None
            growth = _peak_mb(worker.pid) - before if alive else 0.0
        finally:
            worker.stop(grace=30.0)
            await sender.close()
    found = await read_store(s3, ROOT)
    for form, reached in proxy.forms().items():
        sender.forms[form].spliced = reached
    breaches = _judge(found, sender.good, sender.doubtful)
    breaches["forms that reached no worker"] = [form for form, counted in sender.forms.items() if not counted.reached]
    breaches["memory of the worker"] = [f"+{growth:.0f} MB"] if growth > _MAX_GROWTH_MB else []
    breaches["worker ended or stuck"] = [stuck or worker.tail()] if stuck or not alive else []
    seconds = time.monotonic() - started
    return BatchVerdict(
        count, seed, queue, seconds, len(sender.good), len(found.letters), growth, dict(sender.forms), breaches
    )


class _Sender:
    """Puts each batch onto the queue, or into the answers of the proxy if the broker does not take it."""

    def __init__(self, bootstrap: str, spliced: dict[tuple[str, int, int], MadeBatch]) -> None:
        self._wire = BatchWire(bootstrap, _NORMAL)
        self._alone = BatchWire(bootstrap, _NORMAL)
        self._spliced = spliced
        self.forms: defaultdict[str, _FormCount] = defaultdict(_FormCount)
        self._refused: Counter[str] = Counter()
        self.good: list[tuple[str, Good]] = []
        self.doubtful: set[str] = set()
        """The custom_ids that may be on the queue twice: sent anew, since the broker had not answered."""
        self.ends: dict[int, int] = {}

    async def close(self) -> None:
        """Disconnect."""
        await self._wire.close()
        await self._alone.close()

    async def send_all(self, batches: Iterator[MadeBatch]) -> None:
        """Spread over the partitions."""
        groups = iter(lambda: [*enumerate(islice(batches, PARTITION_COUNT))], [])
        while several := [*islice(groups, _MAX_CONCURRENT_SENDS)]:
            await asyncio.gather(*(self.send_group(group) for group in several))

    async def send_group(self, group: Sequence[tuple[int, MadeBatch]]) -> None:
        """Each to its partition."""
        asked = [(partition, made) for partition, made in group if self._is_taken(made.form)]
        left = [(partition, made) for partition, made in group if not self._is_taken(made.form)]
        # The first of a form goes alone: a broker may close the connection over it.
        for one in [each for each in asked if not self.forms[each[1].form].accepted]:
            asked.remove(one)
            left += await self._send(self._alone, [one])
        left += await self._send(self._wire, asked)
        if left:
            stand_in = batch([Record(b'"stands for another batch"')] * RECORDS_PER_BATCH)
            answers = await self._wire.send([(partition, stand_in) for partition, _ in left])
            for (partition, made), answer in zip(left, answers, strict=True):
                assert answer.offset is not None, answer.error
                self._spliced[_NORMAL, partition, answer.offset] = made
                self._count(partition, answer.offset + RECORDS_PER_BATCH, made)

    async def _send(self, wire: BatchWire, group: Sequence[tuple[int, MadeBatch]]) -> list[tuple[int, MadeBatch]]:
        """Returns those that the broker did not take."""
        if not group:
            return []
        answers = await wire.send([(partition, made.data) for partition, made in group])
        left = []
        for (partition, made), answer in zip(group, answers, strict=True):
            if answer.offset is None:
                self._refused[made.form] += 1
                self.doubtful.update(one.custom_id for one in made.good if answer.doubtful)
                left.append((partition, made))
            else:
                self.forms[made.form].accepted += 1
                self._count(partition, answer.offset + 1, made)
        return left

    def _is_taken(self, form: str) -> bool:
        if form in _SPLICED_ONLY:
            return False
        return self.forms[form].accepted > 0 or self._refused[form] < _MAX_REFUSALS

    def _count(self, partition: int, end: int, made: MadeBatch) -> None:
        self.forms[made.form].sent += 1
        self.good += ((made.form, one) for one in made.good)
        self.ends[partition] = max(self.ends.get(partition, 0), end)


def _judge(found: Store, good: Sequence[tuple[str, Good]], doubtful: AbstractSet[str]) -> dict[str, list[str]]:
    """Good records without their answer, or with several unless they may have been sent twice."""
    records = defaultdict(list)
    for several in found.records.values():
        for record in several:
            records[record["custom_id"]].append(record)
    unanswered, repeated = [], []
    for form, one in good:
        answers = [each for each in records[one.custom_id] if each["response"]]
        if not any(one.token in json.dumps(each["response"]["body"]) for each in answers):
            unanswered.append(f"{form}: {one} got {str(records[one.custom_id])[:300]}")
        elif len(records[one.custom_id]) > 1 and one.custom_id not in doubtful:
            repeated.append(f"{form}: {one} got {len(records[one.custom_id])}")
    return {"good and not answered": unanswered, "good and answered more than once": repeated}


def _reset_peak(pid: int) -> float:
    """Begin to measure the peak of a process's memory anew. Returns what it has now, in MB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _memory_mb(pid, "VmRSS")


def _peak_mb(pid: int) -> float:
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, name: str) -> float:
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if name in one)
    return int(line.split()[1]) * 1024 / _BYTES_PER_MB
