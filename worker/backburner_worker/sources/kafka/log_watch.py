"""Watches which log each partition is: a topic may be made anew, a log lose its end to a new leader, or its beginning.

Offsets alone do not tell: a new log grows past the old one's. So the topic's id and the leader's epoch are kept beside
each committed offset, and compared with what the brokers say when partitions come, and every few seconds from then on.
Nothing is guessed: what the brokers do not answer is asked again.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from backburner.logs import get_logger
from backburner_worker.sources.base import LogLosses
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition
from backburner_worker.sources.kafka.marks import UNKNOWN_LOG, UNMARKED, Log, Marks
from backburner_worker.sources.kafka.wire import queries
from backburner_worker.sources.kafka.wire.queries import End

log = get_logger(__name__)

_BEHIND_SECONDS = 120.0
"""For so long at most a broker shows a topic that is gone: it gets its metadata again or leaves the cluster."""
LOOK_SECONDS = 3.0
"""Seconds between two looks at partitions that are read."""


@dataclass(frozen=True, slots=True)
class View:
    """What the brokers say of a partition's log now."""

    topic: bytes
    """The topic's id; empty where the brokers have none."""
    end: End | None
    """None while the leader does not answer."""

    def is_other_topic(self, known: Log) -> bool:
        """Whether the topic was made anew since that was known."""
        return bool(self.topic and known.topic and self.topic != known.topic)

    def is_later_epoch(self, known: Log) -> bool:
        """Whether the leader has another epoch than when that was known."""
        return self.end is not None and 0 <= known.epoch < self.end.epoch

    def is_behind(self, known: Log) -> bool:
        """Whether who answered leads no more, and does not know it yet."""
        return self.end is not None and self.topic == known.topic != b"" and self.end.epoch < known.epoch

    def read(self, known: Log, position: int) -> Log:
        """What is known where all below that position was read.

        If the log ends before it, that was of the epoch which is known, or of one after it that is gone.
        """
        beyond = self.end is not None and self.end.offset < position
        return replace(known, checked=max(known.checked, position)) if beyond else known

    def seen(self, known: Log, checked: int) -> Log:
        """What is known from now on, where all below that offset was read before the brokers were asked."""
        renewed = known.renewed or self.is_other_topic(known)
        epoch = self.end.epoch if self.end is not None else -1
        return Log(self.topic or known.topic, epoch, checked, renewed=renewed)


def as_committed(offset: int, marked: Log, held: Log) -> Log:
    """What is known of the log of a committed offset, by the marks beside it and by what this process holds of it.

    Marks are as old as the last commit, and this process may have looked since. It knows of a later epoch: then the
    offset is of the one before, all of it, since a commit from then on would say so.
    """
    if not marked.topic or marked.topic != held.topic or held.epoch < marked.epoch:
        return marked
    return replace(marked, checked=max(marked.checked, offset if held.epoch > marked.epoch else held.checked))


def cut_at(known: Log, epoch_end: int | None) -> int | None:
    """Where a log lost its end, by where the known epoch ends in it now; None if nothing that was read is gone."""
    return epoch_end if epoch_end is not None and 0 <= epoch_end < known.checked else None


class LogWatch:
    """The logs of one consumer's partitions."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        *,
        seconds: float,
        sought: Callable[[Partition], None],
        moved: Callable[[Partition], None],
        replaced: Callable[[Partition], None],
    ) -> None:
        """`seconds` bounds each question; `sought` is called when a partition has to be read on from somewhere else.

        `moved` is called where what was read of it is void, too. `replaced` is called when offsets that were known no
        longer mean what they did, also of a partition that comes.
        """
        self._consumer = consumer
        self._assignment = assignment
        self._seconds = seconds
        self._sought = sought
        self._moved = moved
        self._replaced = replaced
        self._lost: Counter[str] = Counter()
        self._restarted: Counter[str] = Counter()
        self._gone: dict[bytes, float] = {}
        """Ids of topics that others took the place of, and when that was found, in monotonic seconds."""
        self._last: dict[str, Log] = {}
        """Which log each topic was when last seen: while it is deleted, its partitions are nobody's."""

    def losses(self) -> LogLosses:
        """What was found out so far, by topic."""
        return LogLosses(records_lost=dict(self._lost), logs_restarted=dict(self._restarted))

    async def run(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(KafkaError, OSError, TimeoutError):  # Who reads finds out the same, and what to do about it.
                await self.look([*self._assignment.partitions])

    async def look(self, partitions: Collection[Partition]) -> None:
        """Compare what is known of these partitions, which are ours, with what the brokers say."""
        # All below these offsets was read before the brokers are asked.
        reached = {partition: self._assignment.position(partition) for partition in partitions}
        known = {partition: self._assignment.log(partition) for partition in partitions}
        views = await self._views(partitions)
        later = {partition: view for partition, view in views.items() if view.is_later_epoch(known[partition])}
        epoch_ends = await self._epoch_ends({partition: known[partition].epoch for partition in later})
        anew = [partition for partition, view in views.items() if view.is_other_topic(known[partition])]
        starts = await self._starts(anew)
        for partition, view in views.items():
            if partition not in self._assignment.partitions or self._assignment.log(partition) != known[partition]:
                continue  # It went away meanwhile, or was looked at by somebody else.
            before, now = known[partition], view.seen(known[partition], reached[partition])
            if view.is_other_topic(before):
                if partition in starts:
                    self._begin_anew(partition, starts[partition], replace(now, checked=starts[partition]))
                    self._moved(partition)
            elif partition in later and partition not in epoch_ends:
                continue  # Its leader did not answer: asked again at the next look.
            elif (end := cut_at(view.read(before, reached[partition]), epoch_ends.get(partition))) is not None:
                self._cut(partition, end, now.cut(end))
                self._moved(partition)
            elif view.end is not None and not view.is_behind(before):
                self._assignment.confirm(partition, now)

    async def out_of_range(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has nothing at these offsets, where partitions were to be read on: find out why.

        What no broker answers is left as it is. Raises what aiokafka raises.
        """
        await self.look([partition for partition in offsets if partition in self._assignment.partitions])
        asked = [partition for partition in offsets if self.is_at(partition, offsets[partition])]
        starts, views = await self._starts(asked), await self._views(asked)
        for partition, start in starts.items():
            end = views[partition].end if partition in views else None
            if end is None or not self.is_at(partition, offsets[partition]):
                continue
            if offsets[partition] < start:
                self._skip(partition, start)
                self._sought(partition)
            elif offsets[partition] > end.offset:
                await self._beyond_the_end(partition, start, views[partition])

    def is_at(self, partition: Partition, offset: int) -> bool:
        """Whether the partition is ours, and to be read on from there."""
        return partition in self._assignment.partitions and self._assignment.reads_on_from(partition) == offset

    async def _beyond_the_end(self, partition: Partition, start: int, view: View) -> None:
        known = self._assignment.log(partition)
        if view.is_other_topic(known):
            return  # Made anew since it was looked at: the next look finds that, and asks for its beginning afterwards.
        if known.topic and known.epoch >= 0:
            end = (await self._epoch_ends({partition: known.epoch})).get(partition)
            if end is None or self._assignment.log(partition) != known or partition not in self._assignment.partitions:
                return  # The leader did not answer, or the partition went away: asked again when it is read again.
            if 0 <= end < self._assignment.position(partition):
                self._cut(partition, end, view.seen(known, end).cut(end))
                self._moved(partition)
                return
        # Nothing tells how much of the log is what it was: all that it has is run, since no request may be lost.
        self._begin_anew(partition, start, view.seen(known, start))
        self._moved(partition)

    async def arriving(
        self, coming: Collection[Partition], found: Mapping[Partition, tuple[int, Marks]]
    ) -> dict[Partition, Committed]:
        """Where to begin on partitions that come, by what is committed of them; those that no leader answers for miss.

        What runs here from before, of a log that is gone, has lost its lease then. Raises what aiokafka raises.
        """
        marked = {partition: found[partition][1].log if partition in found else UNKNOWN_LOG for partition in coming}
        views = {
            partition: view
            for partition, view in (await self._views(coming)).items()
            if view.end is not None and not view.is_behind(marked[partition])
        }
        held = {partition: self._held(partition) for partition in views}
        marked_ends, held_ends = [
            await self._epoch_ends(
                {one: logs[one].epoch for one, view in views.items() if view.is_later_epoch(logs[one])}
            )
            for logs in (marked, held)
        ]
        views = {
            partition: view
            for partition, view in views.items()
            # Begun without an answer, it would count as whole from then on, and what was cut off would never be run.
            if (partition in marked_ends or not view.is_later_epoch(marked[partition]))
            and (partition in held_ends or not view.is_later_epoch(held[partition]))
        }
        fresh = {
            partition
            for partition, view in views.items()
            if partition not in found
            or view.is_other_topic(marked[partition])
            or (view.is_other_topic(held[partition]) and not marked[partition].topic)
        }
        starts = await self._starts(fresh)
        committed = {}
        for partition, view in views.items():
            before, mine = marked[partition], held[partition]
            end, mine_end = None, cut_at(mine, held_ends.get(partition))
            if partition in fresh:
                if partition not in starts:
                    continue
                offset, marks = starts[partition], UNMARKED
                now = view.seen(before if before.topic else mine, offset)
            else:
                offset, marks = found[partition]
                reached = max(offset, marks.completed.stop, marks.started.stop)
                known = view.read(as_committed(offset, before, mine), reached)
                now = view.seen(known, reached)
                if (end := cut_at(known, marked_ends.get(partition))) is not None:
                    offset, marks, now = min(offset, end), marks.below(end), now.cut(end)
            if view.is_other_topic(before) or view.is_other_topic(mine):
                self._note_gone({before.topic, mine.topic} - {view.topic})
                self._begin_anew(partition, offset, now)
            elif mine_end is not None:
                self._cut(partition, mine_end, now)
            elif end is not None and mine.epoch <= before.epoch:  # Else it was told when it was found out.
                self._tell_cut(partition, end)
            committed[partition] = Committed(offset, marks, now)
            self._last[partition[0]] = Log(now.topic)
        return committed

    def _held(self, partition: Partition) -> Log:
        known = self._assignment.log(partition)
        return known if known.topic else self._last.get(partition[0], known)

    # --- what the brokers say ---

    async def _views(self, partitions: Collection[Partition]) -> dict[Partition, View]:
        """Of each partition whose topic the brokers know."""
        if not partitions:
            return {}
        ids = await queries.topic_ids(self._consumer, {topic for topic, _ in partitions}, seconds=self._seconds)
        ends = await queries.ends(self._consumer, partitions, seconds=self._seconds)
        # A broker that is behind may still know a topic that is gone; not for ever, since it may be that it was behind
        # when another seemed to be gone.
        since = time.monotonic() - _BEHIND_SECONDS
        known = {topic: found for topic, found in ids.items() if self._gone.get(found, since) <= since}
        return {one: View(known[one[0]], ends.get(one)) for one in partitions if one[0] in known}

    async def _starts(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        if not partitions:
            return {}
        return await queries.beginnings(self._consumer, partitions, seconds=self._seconds)

    async def _epoch_ends(self, epochs: Mapping[Partition, int]) -> dict[Partition, int]:
        return await queries.epoch_ends(self._consumer, epochs, seconds=self._seconds) if epochs else {}

    # --- what is made of it ---

    def _begin_anew(self, partition: Partition, start: int, now: Log) -> None:
        topic, number = partition
        self._note_gone({self._assignment.log(partition).topic} - {now.topic})
        self._assignment.begin_anew(partition, start, now)
        self._last[topic] = Log(now.topic)
        self._restarted[topic] += 1
        self._replaced(partition)
        log.warning(
            "the partition is another log than before, as when its topic is made anew; reading it from its beginning",
            topic=topic,
            partition=number,
            offset=start,
        )

    def _note_gone(self, topics: Collection[bytes]) -> None:
        now = time.monotonic()
        lately = {topic: at for topic, at in self._gone.items() if now - at < _BEHIND_SECONDS}
        self._gone = lately | dict.fromkeys(filter(None, topics), now)

    def _cut(self, partition: Partition, end: int, now: Log) -> None:
        self._assignment.cut(partition, end, now)
        self._tell_cut(partition, end)

    def _tell_cut(self, partition: Partition, end: int) -> None:
        topic, number = partition
        self._restarted[topic] += 1
        self._replaced(partition)
        log.warning(
            "the log has lost its end, as when a replica that was behind became the leader; reading on from there",
            topic=topic,
            partition=number,
            offset=end,
        )

    def _skip(self, partition: Partition, start: int) -> None:
        topic, number = partition
        position = self._assignment.reads_on_from(partition)
        lost = self._assignment.skip(partition, start)
        self._lost[topic] += lost
        log.warning(
            "retention deleted records before they were read, so these requests have no answers; submit them again, "
            "and have the topic keep records longer",
            topic=topic,
            partition=number,
            from_offset=position,
            to_offset=start,
            lost=lost,
        )
