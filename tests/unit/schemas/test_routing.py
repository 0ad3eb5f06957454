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
    assert routing.queues("backburner", "m") == {
        "backburner-m-high": Lane.HIGH,
        "backburner-m-normal": Lane.NORMAL,
        "backburner-m-low": Lane.LOW,
        "backburner-m-retry": Lane.RETRY,
    }
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


def test_a_partition_key_names_the_job_and_the_block_of_neighbours():
    assert routing.partition_key(envelope(130)) == b"t/j/2"
    assert routing.partition_key(envelope("3-17")) == b"t/j/3-17"


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


NAMED = Routes(
    bases={"fake": "fake", "Meta/Llama": "meta-llama-1"},
    adapters={"sql-lora": "meta-llama-1"},
    aliases={"gpt-4o": "fake", "sql-lora": "fake", "Meta/Llama": "fake"},
)


def test_an_alias_leads_to_its_pool_unless_a_pool_serves_something_by_that_name():
    assert NAMED.pool_for("gpt-4o") == "fake"
    assert NAMED.pool_for("sql-lora") == NAMED.pool_for("Meta/Llama") == "meta-llama-1"


def test_a_model_that_nobody_serves_is_told_what_can_be_done():
    with pytest.raises(PoolNotFound) as caught:
        NAMED.pool_for("new")
    assert caught.value.param == "model"
    assert caught.value.message == (
        "no pool serves the model 'new'; there is Meta/Llama, fake, gpt-4o, sql-lora. Name one of these, make it an "
        "alias with `backburner pools alias POOL new`, or make a pool with `backburner topics ensure --pool new`; of "
        "an adapter, start a worker that has it in BACKBURNER_ADAPTERS"
    )


def test_a_pool_that_there_is_not_is_told_which_there_are():
    with pytest.raises(PoolNotFound) as caught:
        NAMED.check_pool("new")
    assert caught.value.param == "pool"
    assert caught.value.message == "there is no pool 'new'; there is fake, meta-llama-1"


@pytest.mark.parametrize(
    ("pool", "alias"),
    [("fake", "fresh"), ("fake", "gpt-4o"), ("fake", "GPT-4o"), ("fake", "FAKE"), ("meta-llama-1", "SQL-lora")],
)
def test_a_pool_takes_an_alias_that_nobody_else_has(pool, alias):
    # Its own names, and those that differ from them in case, are nobody else's.
    Routes(NAMED.bases, NAMED.adapters, {"gpt-4o": "fake"}).check_alias(pool, alias)


@pytest.mark.parametrize(
    ("pool", "alias", "message"),
    [
        (
            "fake",
            " x",
            "' x' cannot be an alias; use up to 256 printable characters, without spaces around them",
        ),
        ("fake", "fake", "'fake' is a model of the pool fake already; choose another name"),
        ("fake", "Meta/Llama", "'Meta/Llama' is a model of the pool meta-llama-1 already; choose another name"),
        ("meta-llama-1", "sql-lora", "'sql-lora' is an adapter of the pool meta-llama-1 already; choose another name"),
        ("meta-llama-1", "gpt-4o", "'gpt-4o' is an alias of the pool fake already; choose another name"),
        (
            "fake",
            "META/llama",
            (
                "'META/llama' differs in letter case alone from 'Meta/Llama', a model of the pool meta-llama-1; choose "
                "another name"
            ),
        ),
        (
            "fake",
            "SQL-lora",
            (
                "'SQL-lora' differs in letter case alone from 'sql-lora', an adapter of the pool meta-llama-1; choose "
                "another name"
            ),
        ),
        (
            "meta-llama-1",
            "GPT-4o",
            "'GPT-4o' differs in letter case alone from 'gpt-4o', an alias of the pool fake; choose another name",
        ),
    ],
)
def test_an_alias_that_something_else_has_is_refused(pool, alias, message):
    with pytest.raises(PoolConflict) as caught:
        Routes(NAMED.bases, NAMED.adapters, {"gpt-4o": "fake"}).check_alias(pool, alias)
    assert caught.value.message == message


def test_all_names_of_other_pools_are_held_against_an_alias_not_the_first_alone():
    routes = Routes(bases={"a": "a", "b": "b", "c": "c"})
    for taken in ("b", "B", "c", "C"):
        with pytest.raises(PoolConflict):
            routes.check_alias("a", taken)


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ("Fake", "the pool of 'fake' exists; 'Fake' differs in letter case alone"),
        (
            "GPT-4o",
            (
                "'gpt-4o' is an alias of the pool fake; remove it with `backburner pools alias fake gpt-4o --remove`, "
                "or serve 'GPT-4o' under another name"
            ),
        ),
        ("taken", "the pool taken belongs to 'x/y'; serve 'taken' under another name"),
    ],
)
def test_a_new_model_whose_name_is_taken_is_refused(served, message):
    routes = Routes(bases={"fake": "fake", "x/y": "taken"}, aliases={"gpt-4o": "fake"})
    with pytest.raises(PoolConflict) as caught:
        routes.check_new(served)
    assert caught.value.message == message


def test_a_model_that_was_served_before_keeps_its_place_beside_its_own_alias():
    routes = Routes(bases={"fake": "fake", "other": "other"}, aliases={"Fake": "fake", "x": "other"})
    routes.check_new("fake")
    routes.check_new("other")
    with pytest.raises(PoolConflict, match="is an alias of the pool other"):
        routes.check_new("X")


def test_one_that_is_served_already_may_not_differ_in_case_alone_from_another_either():
    with pytest.raises(PoolConflict, match="the pool of 'A' exists"):
        Routes(bases={"a": "a", "A": "a-1"}).check_new("a")


def test_where_there_is_no_pool_yet_that_is_told():
    with pytest.raises(PoolNotFound) as caught:
        Routes().check_pool("a")
    assert caught.value.message == "there is no pool 'a'; there is none yet"
