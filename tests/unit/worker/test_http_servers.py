"""Servers elsewhere as the engine sees them: who gets a request, who is ejected, who is admitted again. Without I/O."""

import asyncio

import pytest

from backburner_schemas.errors import EngineError, GenerationAborted
from backburner_worker.engine.openai_http.balancer import Balancer
from backburner_worker.engine.openai_http.concurrency import ConcurrencyLimit
from backburner_worker.engine.openai_http.server import Server


class World:
    """Servers that answer, each with a limit of its own, and a clock that is set by hand."""

    def __init__(self, *limits):
        self.now = 100.0
        self.servers = [Server(f"http://s{number}", ConcurrencyLimit(limit)) for number, limit in enumerate(limits)]
        for server in self.servers:
            server.admit(["m"])
        self.balancer = Balancer(self.servers, lambda: self.now)

    def take(self, name="m"):
        return self.balancer.take(name)

    async def waiting(self, name="m"):
        task = asyncio.ensure_future(self.balancer.wait(name))
        await asyncio.sleep(0)
        return task


def test_the_least_loaded_server_gets_the_request_by_its_own_limit():
    world = World(2, 6)
    for _ in range(4):
        world.take()
    assert [server.in_flight for server in world.servers] == [1, 3]
    for _ in range(4):
        world.take()
    assert [server.in_flight for server in world.servers] == [2, 6]
    assert world.take() is None


def test_a_name_goes_only_where_it_is_served():
    world = World(4, 4)
    world.servers[1].admit(["m", "legal"])
    assert world.take("legal").server is world.servers[1]
    assert world.take("unknown") is None


def test_a_server_that_fails_again_and_again_is_ejected_and_one_that_answers_between_is_not():
    world = World(100)
    (server,) = world.servers
    for _ in range(20):
        server.failed(world.take(), "500")
        server.answered(1, world.now)
    assert server.away is None
    for _ in range(5):
        server.failed(world.take(), "500")
    assert server.away == "500"
    assert world.take() is None
    assert world.balancer.unavailable_reason() == "http://s0: 500"


def test_failures_of_requests_sent_before_an_ejection_do_not_eject_again():
    world = World(100)
    (server,) = world.servers
    before = [world.take() for _ in range(20)]
    server.eject("gone")
    server.admit(["m"])
    for place in before:
        server.failed(place, "broken")
        server.refused_caller(place, "refused")
    assert server.away is None


def test_one_of_two_away_is_not_the_engine_away():
    world = World(3, 3)
    world.servers[0].eject("gone")
    assert world.balancer.unavailable_reason() is None
    assert world.balancer.capacity() == 3
    world.servers[1].eject("gone too")
    assert world.balancer.capacity() == 0
    assert world.balancer.unavailable_reason() == "http://s0: gone; http://s1: gone too"


def test_servers_that_nobody_has_asked_yet_are_not_away():
    servers = [Server(f"http://s{number}", ConcurrencyLimit()) for number in range(2)]
    balancer = Balancer(servers, lambda: 0.0)
    assert balancer.unavailable_reason() is None
    assert balancer.capacity() == 0
    servers[0].eject("no connection")
    assert "http://s0: no connection" in balancer.unavailable_reason()


def test_a_refusal_pauses_the_server_for_what_it_asks_and_never_for_longer_than_a_minute():
    world = World(10)
    (server,) = world.servers
    server.busy(world.take(), 7.0, world.now)
    world.now += 6.9
    assert world.take() is None
    assert world.balancer.capacity() == 0
    world.now += 0.2
    server.busy(world.take(), 1e9, world.now)
    world.now += 61
    assert world.take() is not None


def test_refusals_without_a_time_pause_for_longer_and_longer_until_an_answer():
    world = World(10)
    (server,) = world.servers
    pauses = []
    for _ in range(10):
        server.busy(world.take(), None, world.now)
        pauses.append(server.paused_until - world.now)
        world.now = server.paused_until
        server.leave()
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert max(pauses) == 60
    server.answered(1, world.now)
    server.busy(world.take(), None, world.now)
    assert server.paused_until - world.now == 0.5


def test_a_server_that_only_refuses_counts_as_away_after_a_while():
    world = World(10)
    (server,) = world.servers
    server.busy(world.take(), 1.0, world.now)
    world.now += 29
    assert world.balancer.unavailable_reason() is None
    world.now += 2
    assert "capacity or quota" in world.balancer.unavailable_reason()
    server.answered(1, world.now)
    assert world.balancer.unavailable_reason() is None


async def test_those_who_wait_get_places_in_their_order():
    world = World(1)
    first = world.take()
    second, third = await world.waiting(), await world.waiting()
    first.server.leave()
    world.balancer.hand_out()
    assert (await second).server is world.servers[0]
    assert not third.done()
    third.cancel()
    await asyncio.wait([third])
    assert len(world.balancer) == 0


async def test_one_that_waits_for_an_adapter_keeps_nobody_else_waiting():
    world = World(2, 1)
    world.servers[1].admit(["m", "legal"])
    taken = world.take("legal")
    adapter = await world.waiting("legal")
    assert (await (await world.waiting())).server is world.servers[0]
    assert not adapter.done()
    taken.server.leave()
    world.balancer.hand_out()
    assert (await adapter).server is world.servers[1]


async def test_one_that_no_server_serves_any_more_does_not_wait_in_the_way_of_others():
    world = World(1, 1)
    world.servers[1].admit(["m", "legal"])
    world.take("legal")
    adapter = await world.waiting("legal")
    world.servers[1].eject("gone")
    world.balancer.hand_out()
    with pytest.raises(EngineError, match="'legal'") as caught:
        await adapter
    assert caught.value.retryable
    # While none answers at all it is another matter: then all wait.
    world.servers[0].eject("gone too")
    adapter = await world.waiting("legal")
    assert not adapter.done()
    adapter.cancel()
    await asyncio.wait([adapter])


async def test_a_place_that_comes_together_with_the_cancellation_is_free_again():
    world = World(1)
    first = world.take()
    second, third = await world.waiting(), await world.waiting()
    first.server.leave()
    world.balancer.hand_out()
    second.cancel()
    await asyncio.wait([second])
    assert (await third).server.in_flight == 1


async def test_nobody_waits_for_servers_of_a_closed_engine():
    world = World(1)
    world.take()
    waiting = [await world.waiting() for _ in range(3)]
    world.balancer.fail_waiting(GenerationAborted() for _ in range(3))
    for task in waiting:
        with pytest.raises(GenerationAborted):
            await task
