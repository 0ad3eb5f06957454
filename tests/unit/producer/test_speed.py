"""How fast a pool has been: from the names and times of the newest segments that tell, of jobs that are its own."""

import pytest
from planned_input import PlannedInput, line_of

from backburner.jobs.speed import estimate_of, tokens_per_second
from backburner.storage.storage import Listed
from backburner_schemas import keys
from backburner_schemas.job import Cursor, JobManifest, StoredInput
from backburner_schemas.keys import SegmentName


class ListedStore:
    """A store whose objects have the times that the test says."""

    def __init__(self):
        self.times = {}
        self.manifests = {}
        self.cursors = {}
        self.listed = 0

    def write(self, job, times, tokens=3000, pool=None):
        self.manifests[keys.manifest("me", job)] = pool
        for number, at in enumerate(times):
            name = SegmentName("0" * 26, number, 9, 0, tokens - 1000, 1000, 5)
            self.times[keys.segment("me", job, name)] = at

    async def scan(self, prefix):
        for key in sorted({*self.times, *self.manifests}):
            assert key.startswith(prefix)
            self.listed += 1
            yield Listed(key, 1, self.times.get(key, 0.0))

    async def get(self, key, **_limits):
        if key in self.cursors:
            return self._stored(Cursor(pools=self.cursors[key]))
        stored = StoredInput(key="tenants/me/jobs/a/input.jsonl", bytes=1) if self.cursors else None
        return self._stored(
            JobManifest(
                id=key.split("/")[3], tenant="me", created_at=1, deadline=2, pool=self.manifests[key], stored=stored
            )
        )

    def _stored(self, found):
        return type("Stored", (), {"data": found.model_dump_json().encode()})


@pytest.fixture
def store():
    return ListedStore()


async def test_it_is_what_came_after_the_first_segment_over_the_time_until_the_last(store):
    store.write("a", [100, 110, 130])
    assert await tokens_per_second(store, "me", "fake", only_pool=True) == 6000 / 30


async def test_the_first_job_of_the_listing_that_tells_is_the_newest(store):
    store.write("a", [100, 101])
    store.write("b", [100, 100, 101])
    store.write("c", [50, 60, 70], tokens=6000)
    store.write("d", [10, 20, 30])
    assert await tokens_per_second(store, "me", "fake", only_pool=True) == 600


async def test_where_there_are_several_pools_a_job_counts_only_if_it_names_this_one(store):
    store.write("a", [100, 110, 120], pool="other")
    store.write("b", [100, 110, 120])
    assert await tokens_per_second(store, "me", "fake", only_pool=False) is None
    store.write("c", [100, 110, 120], pool="fake")
    assert await tokens_per_second(store, "me", "fake", only_pool=False) == 300


async def test_a_job_that_was_planned_says_in_its_cursor_where_it_goes(store):
    for job, pools in (("a", ("fake", "other")), ("b", ("other",)), ("c", ("fake",))):
        store.write(job, [100, 110, 120], tokens={"a": 1000, "b": 2000, "c": 3000}[job])
        store.cursors[keys.cursor("me", job)] = pools
    assert await tokens_per_second(store, "me", "fake", only_pool=False) == 300
    assert await tokens_per_second(store, "me", "more", only_pool=False) is None


@pytest.mark.parametrize(("pools", "known"), [(("fake",), True), (("slow",), False), (("fake", "slow"), False)])
async def test_a_planned_job_takes_its_tokens_over_the_speed_of_its_one_pool(store, pools, known):
    store.write("a", [100, 110, 120], pool="fake")
    with PlannedInput([line_of(number, "x" * 400, max_tokens=20) for number in range(10)], pools).plan() as plan:
        found = await estimate_of(store, "me", plan)
        tokens = plan.forecast.prompt_tokens + 10 * 20
    assert found.seconds == (tokens / 300 if known else None)
    assert (found.prefix_hit_ratio, found.prompt_tokens, found.completion_tokens) == (
        plan.forecast.hit_ratio,
        plan.forecast.prompt_tokens,
        200,
    )


async def test_nothing_is_known_without_segments_and_only_a_page_is_listed(store):
    assert await tokens_per_second(store, "me", "fake", only_pool=True) is None
    store.write("a", range(5000))
    assert await tokens_per_second(store, "me", "fake", only_pool=True) == 3000
    assert store.listed == 1000
