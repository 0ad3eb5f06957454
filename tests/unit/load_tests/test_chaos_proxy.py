"""The fault harness's proxy: what each broken link does to a real connection, and that it is whole again afterwards."""

import asyncio
import contextlib
import socket

import pytest

from chaos.proxy import Link, Proxy

BOUND = 30
A_WHILE = 0.2
"""Seconds in which an answer over loopback would have come many times over."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def proxy():
    """A proxy before a server that sends everything back."""

    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    with Proxy(free_port(), server.sockets[0].getsockname()[1]) as running:
        yield running
    server.close()


async def ask(connection, data=b"hello"):
    reader, writer = connection
    writer.write(data)
    await writer.drain()
    return await reader.readexactly(len(data))


async def connect(proxy):
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_a_whole_link_carries_everything_and_its_end(proxy):
    async with asyncio.timeout(BOUND):
        connection = await connect(proxy)
        data = bytes(range(256)) * 4096
        answer = asyncio.create_task(ask(connection, data))
        assert await answer == data
        connection[1].write_eof()
        assert await connection[0].read() == b""


async def test_a_paused_link_delivers_once_it_is_whole_again(proxy):
    async with asyncio.timeout(BOUND):
        before = await connect(proxy)
        await ask(before)
        proxy.become(Link.PAUSED)
        during = await connect(proxy)
        answers = [asyncio.create_task(ask(connection)) for connection in (before, during)]
        done, _ = await asyncio.wait(answers, timeout=A_WHILE)
        assert not done
        proxy.become(Link.WHOLE)
        assert await asyncio.gather(*answers) == [b"hello", b"hello"]


async def test_a_reset_link_ends_every_connection_and_each_new_one(proxy):
    async with asyncio.timeout(BOUND):
        before = await connect(proxy)
        await ask(before)
        proxy.become(Link.RESET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(before)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(await connect(proxy))
        proxy.become(Link.WHOLE)
        assert await ask(await connect(proxy)) == b"hello"


async def test_a_closed_link_ends_every_connection_and_refuses_new_ones(proxy):
    async with asyncio.timeout(BOUND):
        before = await connect(proxy)
        await ask(before)
        proxy.become(Link.CLOSED)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(before)
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
        proxy.become(Link.WHOLE)
        assert await ask(await connect(proxy)) == b"hello"


async def test_a_late_link_holds_the_first_bytes_of_each_request(proxy):
    async with asyncio.timeout(BOUND):
        connection = await connect(proxy)
        await ask(connection)
        proxy.become(Link.LATE)
        for _ in range(2):
            answer = asyncio.create_task(ask(connection))
            done, _ = await asyncio.wait([answer], timeout=A_WHILE)
            assert not done
            assert await answer == b"hello"
        proxy.become(Link.WHOLE)
        assert await ask(connection) == b"hello"


async def test_a_proxy_finds_a_port_of_its_own():
    with Proxy(0, 1) as first, Proxy(0, 1) as second:
        assert 0 != first.port != second.port != 0


async def test_a_slow_link_carries_everything_in_small_pieces(proxy):
    async with asyncio.timeout(BOUND):
        connection = await connect(proxy)
        proxy.become(Link.SLOW)
        data = b"x" * 10_000
        connection[1].write(data)
        first = await connection[0].read(65536)
        assert 0 < len(first) < len(data)
        assert first + await connection[0].readexactly(len(data) - len(first)) == data


async def test_a_dark_link_swallows_and_what_it_swallowed_is_never_mended(proxy):
    async with asyncio.timeout(BOUND):
        before, untouched = await connect(proxy), await connect(proxy)
        await ask(before)
        await ask(untouched)
        proxy.become(Link.DARK)
        during = await connect(proxy)
        answers = [asyncio.create_task(ask(connection)) for connection in (before, during)]
        done, _ = await asyncio.wait(answers, timeout=A_WHILE)
        assert not done
        proxy.become(Link.WHOLE)
        for answer in answers:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await answer
        assert await ask(untouched) == b"hello"
        assert await ask(await connect(proxy)) == b"hello"
