"""Decodes what one fetch returned of one partition, a batch at a time. It does no I/O.

A batch that cannot be decoded, or that says what cannot be, is set aside by itself: a stand-in takes the place of its
offsets, and reading goes on behind it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from backburner_worker.sources.kafka.batches.codecs import MAX_UNPACKED_BYTES, Undecodable
from backburner_worker.sources.kafka.batches.frame import (
    BATCH_VERSION,
    CutOffError,
    Frame,
    LengthError,
    claimed_base,
    cut,
    next_base,
)
from backburner_worker.sources.kafka.batches.message_set import MessageSet
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.batches.record import MAX_KEPT_BYTES, Record, Unreadable, calendar_ms
from backburner_worker.sources.kafka.batches.record_batch import RecordBatch

_ABORTED_CODE = 0
"""The marker that ends an aborted transaction."""


class FetchedBatches:
    """The records among the fetched bytes of one partition, from the offset that was asked for.

    `position` is where to read on from, once all that was taken is kept. `highwater` is where the log ends, as far as
    the broker has said; batches that claim to be behind that are not believed.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        data: bytes,
        offset: int,
        aborted: Iterable[tuple[int, int]],
        *,
        read_committed: bool,
        read_ahead: ReadAhead | None,
    ) -> None:
        """`aborted` are producers, and where each's aborted transaction begins. No `read_ahead`: no bound."""
        self._topic, self._partition = topic, partition
        self._data = data
        self._at: int | None = 0
        self._asked = self.position = offset
        self.highwater: int | None = None
        self._aborted = sorted(aborted, key=lambda one: one[1]) if read_committed else []
        self._aborting: set[int] = set()
        self._read_ahead = read_ahead
        self._batch: RecordBatch | MessageSet | None = None
        self._until = offset
        """Where the open batch ends."""
        self._hold(len(data))

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more to take."""
        return self._at is None and self._batch is None

    def drop(self) -> None:
        """Let go of what is left: it is to be fetched again, from the position."""
        self._data, self._at, self._batch = b"", None, None

    def take(self, most: int) -> list[Record | Unreadable]:
        """The next records, no more than `most`, and no more than this poll may decode."""
        found: list[Record | Unreadable] = []
        while len(found) < most:
            left_bytes = self._read_ahead.left_bytes if self._read_ahead is not None else len(self._data) + 2**40
            if left_bytes <= 0:
                break
            if self._batch is not None:
                self._take_of(self._batch, found, most - len(found), left_bytes)
            elif self._at is None:
                break
            elif self._read_ahead is None or self._read_ahead.may_unpack:
                self._open(self._at, found)
            else:
                break
        if self.exhausted and self._read_ahead is not None:
            self._read_ahead.release(self)
        return found

    def _take_of(
        self, batch: RecordBatch | MessageSet, found: list[Record | Unreadable], most: int, most_bytes: int
    ) -> None:
        taken, kept = batch.take(most, most_bytes), len(found)
        if taken and taken[0].offset >= self.position and not batch.stand_ins:
            found += taken
            self.position = taken[-1].offset + 1
        else:
            self._sift(taken, found)
        # What was read before is passed by for nothing: else a batch that is dropped and opened again and again, since
        # others are fetched, would use up each poll without giving anything.
        if self._read_ahead is not None and len(found) > kept:
            self._read_ahead.gave(batch.taken_bytes)
        if batch.done:
            self._close()

    def _sift(self, taken: Sequence[Record | Unreadable], found: list[Record | Unreadable]) -> None:
        """Keep what was not read already: a batch comes whole. Stand-ins are counted."""
        for record in taken:
            end = record.offset + 1 if isinstance(record, Record) else record.until
            if end <= self.position:
                continue
            if isinstance(record, Record):
                found.append(record)
            else:
                self._set_aside(found, replace(record, offset=max(record.offset, self.position)))
            self.position = end

    def _open(self, at: int, found: list[Record | Unreadable]) -> None:
        """Open the batch that begins there, or pass it by, or set it aside."""
        try:
            frame = cut(self._data, at)
        except (CutOffError, LengthError) as error:
            if at == 0:  # A broker may cut off the last batch of an answer, never the first.
                reason = "is cut off" if isinstance(error, CutOffError) else "has no length that can be"
                self._damaged(found, at, len(self._data), self.position + 1, f"its batch {reason}")
            self._end(found)
            return
        self._at = frame.stop
        self._open_frame(frame, found)
        if self._at == len(self._data) and self._batch is None:
            self._end(found)

    def _open_frame(self, frame: Frame, found: list[Record | Unreadable]) -> None:
        if self._is_out_of_place(frame, found):
            return
        last = self._last(frame)
        if not frame.intact:
            reason = "its batch does not match its checksum" if frame.format <= BATCH_VERSION else _UNKNOWN
            self._damaged(found, frame.start, frame.stop, max(last, self.position) + 1, reason)
            return
        if self._is_beyond(frame.base):
            reason = "its batch says that it lies beyond the end of the log"
            self._damaged(found, frame.start, frame.stop, self.position + 1, reason)
            return
        if last < self.position:
            return
        self._until = last + 1
        if self._is_aborted(frame):
            self.position = self._until
            return
        try:
            if frame.control:
                self._end_transaction(frame, last)
                return
            self._batch = self._opened(frame, last)
        except Undecodable as error:
            self._unpacked(self._most_batch_bytes if frame.codec else 0)
            offset = max(self.position, frame.base if frame.format >= BATCH_VERSION else 0)
            self._set_aside(found, self._stand_in(frame, offset, self._until, f"its batch cannot be read: {error}"))
            self.position = self._until
            return
        self._unpacked(self._batch.unpacked_bytes)
        self._hold(len(self._data) + self._batch.unpacked_bytes)
        if self._batch.done:
            self._close()

    def _opened(self, frame: Frame, last: int) -> RecordBatch | MessageSet:
        if frame.format < BATCH_VERSION:
            return MessageSet(self._topic, self._partition, self._data, frame, most_bytes=self._most_batch_bytes)
        return RecordBatch(
            self._topic, self._partition, self._data, frame, last=last, most_bytes=self._most_batch_bytes
        )

    def _close(self) -> None:
        """The open batch was taken whole."""
        self._batch = None
        self.position = max(self.position, self._until)
        self._hold(len(self._data))
        if self._at == len(self._data):
            self._at = None

    def _end(self, found: list[Record | Unreadable]) -> None:
        """No batch follows. Where nothing led on from the offset that was asked for, asking again would not either."""
        self._at = None
        if self.position == self._asked and not found and self._data:
            self._damaged(found, 0, len(self._data), self.position + 1, "the broker returned batches of other offsets")

    # --- what to believe ---

    def _is_out_of_place(self, frame: Frame, found: list[Record | Unreadable]) -> bool:
        """Whether a batch is not to be read here that seems to lie behind a gap, which no checksum covers."""
        if frame.base <= self.position or self._is_beyond(frame.base):
            return False
        following = claimed_base(self._data, frame.stop)
        if following is not None and self.position < following <= frame.base:
            reason = "its batch says that it lies behind the one that follows it"
            self._damaged(found, frame.start, frame.stop, following, reason)
            return True
        # Of the last one the next answer, which begins with it, shows what follows.
        if following is None and frame.format >= BATCH_VERSION and self.position > self._asked:
            self._at = None
            return True
        return False

    def _last(self, frame: Frame) -> int:
        """The last offset of the batch, as far as what it says can be true: believing it moves the reading on."""
        if frame.format < BATCH_VERSION:
            return frame.last
        following = next_base(self._data, frame.stop)
        if following is not None and following > frame.base and not self._is_beyond(following):
            if frame.intact:
                last = frame.base + frame.count - 1 if self._is_beyond(frame.last) else frame.last
                return min(max(last, frame.base), following - 1)
            # What is damaged may be its length, which then covers batches that are whole: they are passed by only if
            # the header is wrong in its offsets, since the broker answered with it.
            return min(frame.last, following - 1) if frame.last >= self.position else following - 1
        agree = frame.intact or frame.last - frame.base == frame.count - 1
        if frame.last >= frame.base and agree and not self._is_beyond(frame.last):
            return frame.last
        return max(frame.base, self.position) if not self._is_beyond(frame.base) else self.position

    def _is_beyond(self, offset: int) -> bool:
        return self.highwater is not None and 0 < self.highwater <= offset

    # --- transactions ---

    def _is_aborted(self, frame: Frame) -> bool:
        while self._aborted and self._aborted[0][1] <= frame.base:
            self._aborting.add(self._aborted.pop(0)[0])
        return not frame.control and frame.transactional and frame.producer in self._aborting

    def _end_transaction(self, frame: Frame, last: int) -> None:
        """Note what a transaction's marker says. Raises `Undecodable`."""
        batch = RecordBatch(
            self._topic, self._partition, self._data, frame, last=last, most_bytes=self._most_batch_bytes
        )
        if batch.marker() == _ABORTED_CODE:
            self._aborting.discard(frame.producer)
        self.position = self._until

    # --- what is set aside ---

    def _damaged(self, found: list[Record | Unreadable], start: int, stop: int, until: int, reason: str) -> None:
        raw = self._data[start : min(stop, start + MAX_KEPT_BYTES)]
        stand_in = Unreadable(self._topic, self._partition, self.position, until, 0, reason, value=raw, damaged=True)
        self._set_aside(found, stand_in)
        self.position = until
        self._at = None  # Where the next batch begins is as doubtful: it is fetched anew.

    def _stand_in(self, frame: Frame, offset: int, until: int, reason: str) -> Unreadable:
        raw = self._data[frame.start : min(frame.stop, frame.start + MAX_KEPT_BYTES)]
        stamp = calendar_ms(frame.max_ms)
        return Unreadable(self._topic, self._partition, offset, until, stamp, reason, value=raw)

    def _set_aside(self, found: list[Record | Unreadable], stand_in: Unreadable) -> None:
        if self._read_ahead is not None:
            self._read_ahead.unreadable += 1
        found.append(stand_in)

    # --- bounds ---

    @property
    def _most_batch_bytes(self) -> int:
        return self._read_ahead.most_batch_bytes if self._read_ahead is not None else MAX_UNPACKED_BYTES

    def _unpacked(self, size: int) -> None:
        if self._read_ahead is not None:
            self._read_ahead.unpacked(size)

    def _hold(self, size: int) -> None:
        if self._read_ahead is not None:
            self._read_ahead.hold(self, size)


_UNKNOWN = "its batch is of a format that this release does not know"
