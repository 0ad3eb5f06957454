"""Pools, topics and queues: the documented names, and routing by exact model alone."""

import hashlib
import re
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner_schemas import routing
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import PoolConflict, PoolNotFound
from backburner_schemas.names import PRIORITIES, Lane, Priority
from backburner_schemas.routing import MAX_POOL_CHARACTERS, NEIGHBOUR_REQUESTS, Routes, pool_name

SERVED = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(SERVED)
@example("")
@example("İ" * 40)
@example("x" * 41)
def test_a_pools_name_is_always_a_slug_within_its_bounds(served):
    assert re.fullmatch(r"[a-z0-9-]{1,40}", pool_name(served))


@given(st.from_regex(r"[A-Za-z0-9-]{1,40}", fullmatch=True))
def test_a_name_that_only_changes_in_case_keeps_its_letters(served):
    assert pool_name(served) == served.lower()


@given(SERVED.filter(lambda served: not re.fullmatch(r"[a-z0-9-]{1,40}", served.lower())))
def test_a_name_that_is_changed_or_cut_ends_in_six_digits_of_its_hash(served):
    name = pool_name(served)
    slug, digest = name[:-7], name[-6:]
    assert name[-7] == "-"
    assert digest == hashlib.sha256(served.encode()).hexdigest()[:6]
    assert slug == re.sub("[^a-z0-9-]", "-", served.lower())[: MAX_POOL_CHARACTERS - 7]


@pytest.mark.parametrize(
    ("served", "pool"),
    [
        ("fake", "fake"),
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("Qwen3-32B", "qwen3-32b"),
        ("meta-llama/Llama-3.1-8B", "meta-llama-llama-3-1-8b-ac8584"),
        ("a" * 40, "a" * 40),
        ("a" * 41, "a" * 33 + "-" + hashlib.sha256(b"a" * 41).hexdigest()[:6]),
    ],
)
def test_known_pools_keep_their_names(served, pool):
    assert pool_name(served) == pool


def test_every_lane_has_its_topic_and_queue():
    assert routing.topics("backburner", "m") == {
        "backburner.m.high": Lane.HIGH,
        "backburner.m.normal": Lane.NORMAL,
        "backburner.m.low": Lane.LOW,
        "backburner.m.retry": Lane.RETRY,
    }
    assert routing.queue("backburner", "m", Lane.RETRY) == "backburner-m-retry"
    assert routing.group("backburner", "m") == "backburner.m"


def test_users_cannot_choose_the_retry_lane():
    assert Lane.RETRY not in PRIORITIES
    assert {*PRIORITIES, Lane.RETRY} == set(Lane)


def test_type_checkers_know_the_priorities_by_name():
    kind, names = get_args(Priority)
    assert kind is Lane
    assert get_args(names) == PRIORITIES


def envelope(index, job="j"):
    return Envelope(
        tenant="t", job=job, index=index, custom_id="a", url="/v1/completions", body={"model": "m", "prompt": "x"}
    )


@given(st.integers(0, 10**9))
def test_neighbours_share_a_partition_key_and_others_do_not(index):
    key = routing.partition_key(envelope(index))
    first = index - index % NEIGHBOUR_REQUESTS
    assert (
        key == routing.partition_key(envelope(first)) == routing.partition_key(envelope(first + NEIGHBOUR_REQUESTS - 1))
    )
    assert key != routing.partition_key(envelope(first + NEIGHBOUR_REQUESTS))
    assert key != routing.partition_key(envelope(index, job="other"))


ROUTES = Routes(bases={"fake": "fake", "Meta/Llama": "meta-llama-1"}, adapters={"sql-lora": "meta-llama-1"})


def test_a_model_is_routed_by_its_exact_name():
    assert ROUTES.pool_for("Meta/Llama") == "meta-llama-1"
    assert ROUTES.pool_for("sql-lora") == "meta-llama-1"


@pytest.mark.parametrize("model", ["meta/llama", "meta-llama-1", "FAKE", ""])
def test_a_model_that_nobody_serves_is_an_error_that_lists_what_there_is(model):
    with pytest.raises(PoolNotFound) as caught:
        ROUTES.pool_for(model)
    for served in ("fake", "Meta/Llama", "sql-lora", "topics ensure"):
        assert served in caught.value.message


def test_a_pool_is_chosen_by_slug_or_by_served_name():
    assert ROUTES.check_pool("meta-llama-1") == ROUTES.check_pool("Meta/Llama") == "meta-llama-1"
    with pytest.raises(PoolNotFound, match="fake, meta-llama-1"):
        ROUTES.check_pool("other")
    with pytest.raises(PoolNotFound, match="none yet"):
        Routes().check_pool("other")


def test_a_new_pool_may_not_differ_in_case_alone_nor_take_anothers_name():
    ROUTES.check_new("fake")
    ROUTES.check_new("fresh")
    with pytest.raises(PoolConflict, match="letter case"):
        ROUTES.check_new("Fake")
    taken = pool_name("a/b")
    with pytest.raises(PoolConflict, match="belongs to"):
        Routes(bases={"a/b": taken}).check_new(taken)
