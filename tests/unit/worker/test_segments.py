"""Segment buffers: written when full, when old for their job's age, and never twice."""

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.segment import Line
from backburner_worker.settlement.segments import Buffer, Buffers, SegmentLimits

JOB = ("t", "j")


def line(index: int = 0, data: bytes = b"{}", code: str | None = None) -> Line:
    return Line(index, data, error_code=code, prompt_tokens=3, completion_tokens=2, engine_s=0.5)


def add(buffers: Buffers, record: Line, *, now: float = 0, job_age: float = 0) -> tuple[Buffer, bool]:
    buffer = buffers.get(JOB) or buffers.open(JOB, now=now, job_age=job_age)
    return buffer, buffers.add(buffer, record)


@given(st.floats(0, 1e6))
def test_the_age_is_a_tenth_of_the_jobs_within_its_bounds(job_age: float) -> None:
    assert SegmentLimits().age(job_age) == min(max(job_age / 10, 1.0), 60.0)


def test_a_buffer_is_full_by_records() -> None:
    buffers = Buffers(SegmentLimits(max_records=2))
    assert add(buffers, line(0), now=0, job_age=0)[1] is False
    assert add(buffers, line(1), now=0, job_age=0)[1] is True
    assert len(buffers) == 0


def test_a_buffer_is_full_by_bytes() -> None:
    buffers = Buffers(SegmentLimits(max_bytes=10))
    assert add(buffers, line(0, b"x" * 5), now=0, job_age=0)[1] is False
    assert add(buffers, line(1, b"x" * 5), now=0, job_age=0)[1] is True


def test_a_buffer_falls_due_at_the_age_that_its_job_had_when_it_was_opened() -> None:
    buffers = Buffers(SegmentLimits())
    buffer, _ = add(buffers, line(0), now=100, job_age=50)
    add(buffers, line(1), now=104, job_age=54)
    assert buffers.take_due(104.9) == []
    assert buffers.take_due(105) == [buffer]
    assert buffers.take_due(106) == []


def test_a_buffer_whose_job_is_quiet_falls_due_early_unless_more_comes() -> None:
    buffers = Buffers(SegmentLimits())
    buffer, _ = add(buffers, line(0), now=0, job_age=500)
    buffers.set_quiet(JOB, 2)
    buffers.clear_quiet(JOB)
    assert buffers.take_due(3) == []
    buffers.set_quiet(JOB, 4)
    assert buffers.take_due(4) == [buffer]
    assert buffers.take_due(100) == []


def test_the_name_adds_up_what_the_records_took() -> None:
    buffers = Buffers(SegmentLimits())
    add(buffers, line(0), now=0, job_age=0)
    add(buffers, line(1), now=0, job_age=0)
    buffer, _ = add(buffers, line(2, code="expired"), now=0, job_age=0)
    name = buffer.name("0" * 26, 7)
    assert str(name) == f"{'0' * 26}-00000007-2ok-1err-9in-6out-1500ms.jsonl"


def test_a_buffer_does_not_wait_past_its_jobs_deadline() -> None:
    assert SegmentLimits().age(600, job_left=20) == 20
    assert SegmentLimits().age(600, job_left=-5) == 1


def test_a_cancelled_jobs_buffer_is_due_at_once() -> None:
    buffers = Buffers(SegmentLimits())
    buffer, _ = add(buffers, line(0), now=0, job_age=600)
    buffers.hurry(JOB)
    assert buffers.take_due(0) == [buffer]
