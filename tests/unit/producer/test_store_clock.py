"""The store's clock as a machine knows it: measured, bounded in age, and held against the machine's own."""

import math

import pytest
from clock import Clock
from obstore.store import MemoryStore
from wrong_clock import set_clock, store_elsewhere

from backburner.process.clock_keeper import ClockKeeper
from backburner.process.readiness import Readiness
from backburner.storage import Storage
from backburner.storage.clock import MAX_AGE_SECONDS, MAX_OFFSET_SECONDS, StoreClock
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied, StoreError

NOW = 1_800_000_000.0


@pytest.fixture
def wall():
    made = Clock()
    made.now = NOW
    return made


@pytest.fixture
def monotonic():
    return Clock()


@pytest.fixture
def clock(wall, monotonic):
    return StoreClock(wall=wall, monotonic=monotonic)


def measure(clock, dated, *, took=0.0, monotonic=None):
    begun = clock.begin()
    if took:
        monotonic.now += took
    clock.note(dated, begun)


def test_until_it_is_measured_the_machines_own_clock_dates_and_nothing_is_judged(clock):
    assert clock.now() == NOW
    assert clock.offset_seconds is None
    assert clock.trusted_now() == -math.inf
    assert clock.must_be_measured


def test_it_goes_on_by_the_monotonic_clock(clock, wall, monotonic):
    measure(clock, NOW + 3)
    wall.now += 10
    monotonic.now += 10
    assert clock.now() == pytest.approx(NOW + 13, abs=1)
    assert clock.offset_seconds == pytest.approx(3, abs=1)
    assert clock.trusted_now() == clock.now()


@pytest.mark.parametrize("ahead", [200.0, -200.0, 2 * 86_400.0, -3_600.0])
def test_a_machine_that_is_off_is_told_so_and_judges_nothing(clock, wall, ahead):
    wall.now = NOW + ahead
    measure(clock, NOW)
    assert clock.now() == pytest.approx(NOW, abs=1)
    assert not clock.trusted
    assert clock.trusted_now() == -math.inf
    reason = clock.off_reason()
    assert ("ahead of" if ahead > 0 else "behind") in reason
    assert f"{abs(ahead) - 0.5:.0f} s" in reason or f"{abs(ahead) + 0.5:.0f} s" in reason


def test_a_clock_that_is_set_while_the_process_runs_is_noticed_at_once(clock, wall):
    measure(clock, NOW)
    assert clock.trusted
    wall.now += 7_200
    assert not clock.trusted
    assert clock.now() == pytest.approx(NOW, abs=1)
    wall.now -= 7_200
    assert clock.trusted


def test_an_offset_that_is_small_enough_is_trusted_whichever_way(clock, wall):
    for ahead in (MAX_OFFSET_SECONDS - 1, 1 - MAX_OFFSET_SECONDS):
        wall.now = NOW + ahead
        measure(clock, NOW)
        assert clock.trusted
        assert clock.off_reason() is None


def test_a_measurement_is_believed_for_a_time(clock, wall, monotonic):
    measure(clock, NOW)
    for there in (wall, monotonic):
        there.now += MAX_AGE_SECONDS + 1
    assert not clock.trusted
    assert clock.trusted_now() == -math.inf
    assert clock.must_be_measured


def test_a_slow_answer_is_halved_and_one_that_is_too_slow_says_nothing(clock, wall, monotonic):
    measure(clock, NOW + 2, took=4.0, monotonic=monotonic)
    wall.now += 4
    assert clock.offset_seconds == pytest.approx(0.5, abs=0.1)
    assert clock.error_seconds == pytest.approx(2.5)
    before = clock.now()
    measure(clock, NOW + 500, took=60.0, monotonic=monotonic)
    assert clock.now() == before + 60


def test_what_failed_is_not_tried_again_at_once(clock, monotonic):
    clock.begin()
    assert not clock.must_be_measured
    monotonic.now += 11
    assert clock.must_be_measured


async def test_a_store_tells_its_time_by_what_is_written_to_it(monkeypatch):
    set_clock(monkeypatch, 200.0)
    storage = store_elsewhere()
    clock = await storage.measure_clock()
    assert clock.offset_seconds == pytest.approx(-200, abs=2)
    assert len([one.key async for one in storage.scan(keys.CLOCK)]) == 1


async def test_the_view_of_a_tenant_shares_the_clock():
    storage = store_elsewhere()
    mine = storage.of_tenant("t")
    await mine.measure_clock()
    assert storage.clock.trusted


async def test_a_store_on_this_machine_has_its_clock():
    storage = Storage(MemoryStore())
    assert (await storage.measure_clock()).trusted
    assert [one async for one in storage.scan("")] == []


async def test_who_may_not_write_does_without(monkeypatch, caplog):
    storage = store_elsewhere()

    async def denied(*_):
        raise StoreDenied

    monkeypatch.setattr(Storage, "put", denied)
    assert not (await storage.measure_clock()).trusted
    assert "cannot be measured" in caplog.text


class Gauge:
    offset = None

    def clock_offset(self, seconds):
        self.offset = seconds


def test_a_part_that_is_off_says_so_and_stays_ready(clock, wall, caplog):
    readiness, gauge = Readiness(), Gauge()
    keeper = ClockKeeper(clock, clock.begin, readiness, gauge)
    readiness.join()
    assert math.isnan(gauge.offset)
    wall.now = NOW + 120
    measure(clock, NOW)
    keeper.look()
    keeper.look()
    assert gauge.offset == pytest.approx(-120, abs=1)
    assert readiness.ready
    assert "ready, but clock: this machine's clock is 1" in readiness.line
    assert caplog.text.count("ending and deleting nothing") == 1
    wall.now = NOW
    keeper.look()
    assert readiness.line == "ready"
    assert "agrees with the store's again" in caplog.text


async def test_a_keeper_goes_on_where_the_store_is_away(clock, caplog):
    class Over(Exception):
        pass

    tries = 0

    async def measure():
        nonlocal tries
        tries += 1
        if tries == 2:
            raise Over
        raise StoreError("away")

    keeper = ClockKeeper(clock, measure, Readiness(), Gauge(), first_seconds=0.0)
    with pytest.raises(Over):
        await keeper.run()
    assert "measuring the store's clock failed" in caplog.text
