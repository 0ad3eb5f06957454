"""The rights that docs/kafka.md gives each part's user: enough for what it does, and for nothing else."""

import pytest

_PREFIX, _POOL = "rights", "fake"
_LANES = ("high", "normal", "low")
_ALL = {
    *(f"write:{_PREFIX}.{_POOL}.{lane}" for lane in (*_LANES, "retry")),
    f"read:{_PREFIX}.{_POOL}.normal",
    f"commit:{_PREFIX}.{_POOL}.normal",
    f"create:{_PREFIX}.another.normal",
    f"create:elsewhere.{_POOL}.normal",
}
_WRITERS = {f"write:{_PREFIX}.{_POOL}.{lane}" for lane in _LANES}
_MAY = {
    "gateway": _WRITERS,
    "dispatcher": _WRITERS,
    "producer": _WRITERS,
    "worker": {
        f"write:{_PREFIX}.{_POOL}.retry",
        f"read:{_PREFIX}.{_POOL}.normal",
        f"commit:{_PREFIX}.{_POOL}.normal",
    },
    "bootstrap": {f"create:{_PREFIX}.another.normal"},
}


@pytest.fixture(scope="module")
def rights(cluster, broker, clients):
    """A deployment's clients, after the page's commands; the bootstrap's user makes the topics."""
    if not cluster.is_own:
        pytest.skip("not on somebody's broker")
    found = clients(_PREFIX)
    broker.grant(_PREFIX, _POOL)
    found.backburner("topics", "ensure", "--pool", _POOL, part="bootstrap")
    # A message to be read.
    found.program("try_rights", f"write:{_PREFIX}.{_POOL}.normal", part="producer")
    return found


@pytest.mark.parametrize("part", sorted(_MAY))
def test_a_parts_user_may_do_what_it_does_and_nothing_else(rights, figures, part):
    tried = rights.program("try_rights", *sorted(_ALL), part=part)
    assert {one for one, allowed in tried.items() if allowed} == _MAY[part]
    figures.holds(
        f"Kafka: user {part} may do {len(_MAY[part])} of {len(_ALL)} things tried, as docs/kafka.md lists them"
    )
