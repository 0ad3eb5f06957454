"""Quotas: what a tenant and each of its callers may take, and what that is worth where several gateways count."""

import asyncio
from types import SimpleNamespace

import pytest
from waiting import until

from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.limits import level_reader
from backburner.gateway.limits.level_reader import LevelReader
from backburner.gateway.limits.limiter import Unlimited
from backburner.gateway.limits.quota_limiter import QuotaLimiter, duration_text
from backburner.gateway.limits.settings import LimitSettings
from backburner.quotas import Quotas
from backburner.submission.stored_job import create_stored_job
from backburner_schemas import keys
from backburner_schemas.errors import QuotaExceeded, RateLimited, StoreError
from backburner_schemas.job import Cursor, Estimate, JobManifest, StoredInput
from backburner_schemas.keys import SegmentName


def caller(subject="alice", tenant="acme"):
    return Principal(tenant, subject, frozenset({Scope.WRITE}))


@pytest.fixture
def wall(monkeypatch):
    """The clock of the library that counts rates."""
    clock = SimpleNamespace(now=1_000_000.0)
    fake = SimpleNamespace(time=lambda: clock.now)
    for name in ("limits.storage.memory", "limits.strategies", "backburner.gateway.limits.quota_limiter"):
        monkeypatch.setattr(f"{name}.time", SimpleNamespace(**{**vars(fake), "monotonic": lambda: clock.now}))
    return clock


@pytest.fixture
def make_limiter(storage, clock):
    def make(text, *, replicas=1, levels=None):
        quotas = SimpleNamespace(current=Quotas.parse(text))
        return QuotaLimiter(quotas, levels or LevelReader(storage), replicas=replicas, clock=clock)

    return make


async def let_in(limiter, principal, tries):
    """How many of so many requests are let in."""
    count = 0
    for _ in range(tries):
        try:
            await limiter.request(principal)
        except RateLimited:
            continue
        count += 1
    return count


# --- rates ---


async def test_a_tenants_rate_is_shared_by_its_callers(make_limiter, wall):
    limiter = make_limiter('[default]\nrequests = "5/second"')
    assert await let_in(limiter, caller("alice"), 3) == 3
    assert await let_in(limiter, caller("bob"), 5) == 2
    assert await let_in(limiter, caller("bob", tenant="other"), 9) == 5


async def test_a_callers_rate_is_its_own(make_limiter, wall):
    limiter = make_limiter(
        '[default.each_caller]\nrequests = "2/second"\n[tenants.acme.callers.bob]\nrequests="4/second"'
    )
    assert await let_in(limiter, caller("alice"), 9) == 2
    assert await let_in(limiter, caller("bob"), 9) == 4
    assert await let_in(limiter, caller("carol"), 9) == 2


async def test_what_a_caller_was_refused_is_not_taken_from_its_tenant(make_limiter, wall):
    limiter = make_limiter('[default]\nrequests = "5/second"\n[default.each_caller]\nrequests = "2/second"')
    assert await let_in(limiter, caller("alice"), 50) == 2
    assert await let_in(limiter, caller("bob"), 50) == 2
    assert await let_in(limiter, caller("carol"), 50) == 1


async def test_a_rate_comes_back_with_time(make_limiter, wall):
    limiter = make_limiter('[default]\nrequests = "10/second"')
    assert await let_in(limiter, caller(), 20) == 10
    with pytest.raises(RateLimited) as caught:
        await limiter.request(caller())
    assert 0 < caught.value.retry_after <= 1
    wall.now += 2
    assert await let_in(limiter, caller(), 20) == 10


async def test_headers_tell_of_the_limit_that_is_reached_first(make_limiter, wall):
    limiter = make_limiter('[default]\nrequests = "60/minute"\n[default.each_caller]\nrequests = "3/minute"')
    headers = await limiter.request(caller())
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    await let_in(limiter, caller(), 2)
    with pytest.raises(RateLimited) as caught:
        await limiter.request(caller())
    assert caught.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert (caught.value.http_status, caught.value.code) == (429, "rate_limit_exceeded")


async def test_where_nothing_is_limited_nothing_is_told(make_limiter):
    assert await make_limiter("").request(caller()) == {}
    assert await Unlimited().request(caller()) == {}


@pytest.mark.parametrize(("replicas", "counted", "worth"), [(1, 1, 60), (2, 2, 60), (2, 1, 120), (7, 7, 63)])
async def test_what_a_rate_is_worth_over_several_gateways(make_limiter, wall, replicas, counted, worth):
    """Told how many they are, they let in what the quota says, but for rounding up; untold, so many times as much."""
    limiters = [make_limiter('[default]\nrequests = "60/second"', replicas=counted) for _ in range(replicas)]
    assert sum([await let_in(limiter, caller(), 200) for limiter in limiters]) == worth


async def test_new_quotas_count_at_once(make_limiter, wall):
    limiter = make_limiter('[default]\nrequests = "1/hour"')
    assert await let_in(limiter, caller(), 5) == 1
    limiter._quotas.current = Quotas.parse('[default]\nrequests = "3/hour"')
    assert await let_in(limiter, caller(), 5) == 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (59.6, "1m0s"), (360, "6m0s"), (3600, "1h0m0s")]
)
def test_durations_are_written_as_openai_writes_them(seconds, text):
    assert duration_text(seconds) == text


# --- uploads ---


async def test_uploads_at_a_time_are_counted_while_they_last(make_limiter):
    limiter = make_limiter("[default]\nconcurrent_uploads = 2\n[default.each_caller]\nconcurrent_uploads = 1")
    async with limiter.uploading(caller("alice")):
        with pytest.raises(RateLimited):
            await limiter.uploading(caller("alice")).__aenter__()
        async with limiter.uploading(caller("bob")):
            with pytest.raises(RateLimited):
                await limiter.uploading(caller("carol")).__aenter__()
        async with limiter.uploading(caller("carol")):
            pass
    assert not limiter._uploads


async def test_an_upload_that_fails_is_over(make_limiter):
    limiter = make_limiter("[default]\nconcurrent_uploads = 1")
    for _ in range(3):
        with pytest.raises(KeyError):
            async with limiter.uploading(caller()):
                raise KeyError


async def test_uploads_are_shared_by_gateways_too(make_limiter):
    limiter = make_limiter("[default]\nconcurrent_uploads = 4", replicas=2)
    async with limiter.uploading(caller()), limiter.uploading(caller()):
        with pytest.raises(RateLimited):
            await limiter.uploading(caller()).__aenter__()


# --- what is kept ---


async def test_a_tenant_keeps_no_more_than_its_quota(make_limiter, storage, clock):
    await storage.put(keys.content("acme", "file-1"), b"x" * 60)
    await storage.put(f"{keys.upload('acme', 'upload_1')}part", b"x" * 20)
    await storage.put(keys.content("other", "file-1"), b"x" * 1_000)
    limiter = make_limiter("[default]\nstored_bytes = 100")
    await limiter.store(caller(), 15)
    # What was let in counts before it is there.
    with pytest.raises(QuotaExceeded) as caught:
        await limiter.store(caller(), 6)
    assert (caught.value.http_status, caught.value.code) == (429, "insufficient_quota")
    await limiter.store(caller(), 5)
    # It was never kept, and a file is gone.
    await storage.delete([keys.content("acme", "file-1")])
    clock.now += 6
    await until(lambda: _is_let_in(limiter.store(caller(), 70)))


async def _is_let_in(call):
    try:
        await call
    except QuotaExceeded:
        return False
    return True


# --- what waits ---


async def stored_job(storage, name, *, by="alice", size=40_000, **cursor):
    manifest = JobManifest(
        id=name,
        tenant="acme",
        created_at=1,
        deadline=2,
        stored=StoredInput(key=keys.content("acme", "file-1"), bytes=size),
        created_by=by,
    )
    await create_stored_job(storage, manifest)
    if cursor:
        await storage.put(keys.cursor("acme", name), Cursor(**cursor).model_dump_json().encode())


async def answered(storage, name, ok, failed=0):
    segment = SegmentName("0" * 26, 0, ok, failed, 1, 1, 1)
    await storage.put(keys.segment("acme", name, segment), b"")


async def test_jobs_that_have_not_ended_count(make_limiter, storage):
    await stored_job(storage, "batch_1")
    limiter = make_limiter("[default]\njobs = 2")
    await limiter.queue(caller(), 1, 1)
    with pytest.raises(QuotaExceeded, match="batches that have not ended"):
        await limiter.queue(caller(), 1, 1)
    await limiter.queue(caller(tenant="other"), 1, 1)
    # A single request is no job.
    await limiter.queue(caller(), 1, 1, job=False)


async def test_a_job_that_ended_counts_no_more(make_limiter, storage, clock):
    await stored_job(storage, "batch_1")
    limiter = make_limiter("[default]\njobs = 1")
    assert not await _is_let_in(limiter.queue(caller(), 1, 1))
    await storage.delete([keys.open_job("acme", "batch_1")])
    clock.now += 6
    await until(lambda: _is_let_in(limiter.queue(caller(), 1, 1)))


async def test_requests_without_an_answer_count(make_limiter, storage):
    await stored_job(storage, "batch_1", total=100)
    await answered(storage, "batch_1", 70, 10)
    limiter = make_limiter("[default]\nqueued_requests = 50")
    await limiter.queue(caller(), 30, 1)
    with pytest.raises(QuotaExceeded, match="requests without an answer"):
        await limiter.queue(caller(), 1, 1)


async def test_an_input_that_nobody_has_read_is_reckoned_by_its_size(make_limiter, storage):
    await stored_job(storage, "batch_1", size=40_000)
    limiter = make_limiter("[default]\nqueued_requests = 41")
    assert not await _is_let_in(limiter.queue(caller(), 2, 1))
    assert await _is_let_in(limiter.queue(caller(), 1, 1))
    limiter = make_limiter("[default]\nqueued_tokens = 10_001")
    assert not await _is_let_in(limiter.queue(caller(), 1, 2))
    assert await _is_let_in(limiter.queue(caller(), 1, 1))


async def test_tokens_count_as_the_plan_reckons_them(make_limiter, storage):
    estimate = Estimate(prefix_hit_ratio=0.5, prompt_tokens=8_000, completion_tokens=2_000)
    await stored_job(storage, "batch_1", total=100, estimate=estimate)
    await answered(storage, "batch_1", 50)
    limiter = make_limiter("[default]\nqueued_tokens = 6_000")
    await limiter.queue(caller(), 1, 400)
    headers = await limiter.request(caller())
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert headers["x-ratelimit-remaining-tokens"] == "600"
    with pytest.raises(QuotaExceeded, match="tokens"):
        await limiter.queue(caller(), 1, 601)


async def test_what_waits_is_counted_by_who_made_it(make_limiter, storage):
    await stored_job(storage, "batch_1", by="alice")
    await stored_job(storage, "batch_2", by="alice")
    await stored_job(storage, "batch_3", by=None)
    limiter = make_limiter("[default]\njobs = 10\n[default.each_caller]\njobs = 2")
    with pytest.raises(QuotaExceeded, match="this API key or token has 2"):
        await limiter.queue(caller("alice"), 1, 1)
    await limiter.queue(caller("bob"), 1, 1)
    await limiter.queue(caller("bob"), 1, 1)
    assert not await _is_let_in(limiter.queue(caller("bob"), 1, 1))


async def test_a_broken_job_is_a_job(make_limiter, storage):
    await storage.put(keys.open_job("acme", "batch_1"), b"")
    await storage.put(keys.manifest("acme", "batch_1"), b"{")
    assert not await _is_let_in(make_limiter("[default]\njobs = 1").queue(caller(), 1, 1))


async def test_without_a_quota_the_store_is_not_asked(make_limiter):
    limiter = make_limiter('[default]\nrequests = "5/second"', levels=SimpleNamespace(waiting=None, stored=None))
    await limiter.queue(caller(), 10**9, 10**9)
    await limiter.store(caller(), 10**15)


class Slow:
    """Levels that are read when the test says so."""

    def __init__(self, reader):
        self._reader = reader
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self.away = False

    async def waiting(self, tenant):
        self.reads += 1
        found = await self._reader.waiting(tenant)
        await self.gate.wait()
        if self.away:
            raise StoreError
        return found

    async def stored(self, tenant):
        return await self._reader.stored(tenant)


async def test_a_level_is_read_once_in_a_while_and_beside_those_who_ask(make_limiter, storage, clock):
    levels = Slow(LevelReader(storage))
    limiter = make_limiter("[default]\njobs = 100", levels=levels)
    await asyncio.gather(*(limiter.queue(caller(), 1, 1) for _ in range(20)))
    assert levels.reads == 1
    levels.gate.clear()
    clock.now += 6
    # Nobody waits for it.
    await limiter.queue(caller(), 1, 1)
    await limiter.queue(caller(), 1, 1)
    await until(lambda: levels.reads == 2)
    levels.gate.set()
    await until(lambda: not limiter._waiting._reading)
    # What was let in while it was read is not forgotten; what came before is as the store has it.
    assert limiter._waiting.known("acme").now.whole.jobs <= 2


async def test_what_is_let_in_during_a_reading_counts_after_it(make_limiter, storage, clock):
    levels = Slow(LevelReader(storage))
    limiter = make_limiter("[default]\njobs = 100", levels=levels)
    await limiter.queue(caller(), 1, 1)
    levels.gate.clear()
    clock.now += 6
    await limiter.queue(caller(), 1, 1)
    await until(lambda: levels.reads == 2)
    await limiter.queue(caller(), 1, 1)
    levels.gate.set()
    await until(lambda: not limiter._waiting._reading)
    known = limiter._waiting.known("acme").now
    assert (known.whole.jobs, known.of_caller("alice").jobs) == (1, 1)


async def test_an_old_level_serves_through_an_outage_up_to_a_bound(make_limiter, storage, clock):
    levels = Slow(LevelReader(storage))
    limiter = make_limiter("[default]\njobs = 100", levels=levels)
    await limiter.queue(caller(), 1, 1)
    levels.away = True
    clock.now += 59
    await limiter.queue(caller(), 1, 1)
    clock.now += 1
    with pytest.raises(StoreError):
        await limiter.queue(caller(), 1, 1)
    levels.away = False
    await limiter.queue(caller(), 1, 1)


async def test_a_level_that_takes_for_ever_is_not_waited_for(make_limiter, storage, monkeypatch):
    monkeypatch.setattr("backburner.gateway.limits.remembered_levels._READ_SECONDS", 0.01)
    levels = Slow(LevelReader(storage))
    levels.gate.clear()
    with pytest.raises(StoreError, match="in time"):
        await make_limiter("[default]\njobs = 1", levels=levels).queue(caller(), 1, 1)
    levels.gate.set()


# --- settings ---


async def test_without_a_file_nothing_is_limited(storage, tmp_path):
    assert isinstance(LimitSettings().open_limiter(storage), Unlimited)
    file = tmp_path / "quotas.toml"
    file.write_text('[default]\nrequests = "2/hour"')
    limiter = LimitSettings(quotas_file=str(file), gateway_replicas=2).open_limiter(storage)
    assert await let_in(limiter, caller(), 5) == 1


async def test_one_tenants_many_jobs_hold_up_no_others_level(storage, monkeypatch):
    for number in range(100):
        await storage.put(keys.open_job("large", f"batch_{number}"), b"")
    await storage.put(keys.open_job("small", "batch_1"), b"")
    reading, read = asyncio.Event(), level_reader.read_manifest

    async def slow(store, tenant, job):
        if tenant == "large":
            reading.set()
            await asyncio.Event().wait()
        return await read(store, tenant, job)

    monkeypatch.setattr(level_reader, "read_manifest", slow)
    levels = LevelReader(storage)
    large = asyncio.create_task(levels.waiting("large"))
    await reading.wait()
    async with asyncio.timeout(10):
        await levels.waiting("small")
    large.cancel()


async def test_a_reading_that_fails_leaves_none_of_its_reads_behind(storage, monkeypatch):
    for number in range(10):
        await storage.put(keys.open_job("acme", f"batch_{number}"), b"")
    under_way = 0

    async def slow(store, tenant, job):
        nonlocal under_way
        if job == "batch_9":
            raise StoreError
        under_way += 1
        try:
            await asyncio.Event().wait()
        finally:
            under_way -= 1

    monkeypatch.setattr(level_reader, "read_manifest", slow)
    with pytest.raises(StoreError):
        await LevelReader(storage).waiting("acme")
    assert under_way == 0


async def test_a_reader_remembers_the_jobs_of_so_many_tenants_as_have_levels(storage, monkeypatch):
    monkeypatch.setattr(level_reader, "MAX_TENANTS", 2)
    levels = LevelReader(storage)
    for tenant in ("a", "b", "c"):
        manifest = JobManifest(id="batch_1", tenant=tenant, created_at=1, deadline=2)
        await storage.put(keys.open_job(tenant, "batch_1"), b"")
        await storage.put(keys.manifest(tenant, "batch_1"), manifest.model_dump_json().encode())
    for tenant in ("a", "b", "a", "c"):
        assert (await levels.waiting(tenant)).whole.jobs == 1
    assert list(levels._manifests) == ["a", "c"]
    # What has ended is not remembered either.
    await storage.delete([keys.open_job("a", "batch_1")])
    await levels.waiting("a")
    assert list(levels._manifests) == ["c"]
