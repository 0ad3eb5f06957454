"""The HTTP client of the load tests: it sends each request once, and hides no answer that was not asked for."""

import asyncio

import pytest

from measuring.http_load import post, send_all


async def serve(answers, requests):
    """A server that gives the answers in turn, each to a whole request, and none once they are used up."""
    left = iter(answers)

    async def handle(reader, writer):
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            size = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
            requests.append(head + await reader.readexactly(size))
            answer = next(left, None)
            if answer is None:
                break
            for piece in answer:
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


ACCEPTED = (b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nfour",)
IN_PIECES = (b"HTTP/1.1 202 Accepted\r\ncontent-le", b"ngth: 4\r\n\r\nfo", b"ur")


async def test_each_request_is_sent_once_over_all_connections():
    seen = []
    server, port = await serve([ACCEPTED, IN_PIECES] * 10, seen)
    sent = [post("/v1/async/completions", b"%d" % number, authorization="Bearer k") for number in range(20)]
    async with server:
        load = await send_all([port, port], sent, connections=4, status=202)
    assert sorted(seen) == sorted(sent)
    assert len(load.latencies) == 20
    assert load.p99 <= load.seconds


async def test_an_answer_with_another_status_is_an_error_that_shows_it():
    server, port = await serve([(b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nslow",)], [])
    async with server:
        with pytest.raises(RuntimeError, match="429 Too Many"):
            await send_all([port], [post("/", b"1")], connections=1, status=202)


async def test_a_connection_that_ends_before_the_answer_is_an_error():
    server, port = await serve([], [])
    async with server:
        with pytest.raises(RuntimeError, match="ended before"):
            await send_all([port], [post("/", b"1")], connections=1, status=202)
