"""What a broker's answer tells, and that an answer which is none tells nothing."""

import socket
import struct
import threading

import pytest

from backburner.local.programs.probe import kafka_brokers, speaks_kafka


def broker(number: int, host: bytes = b"127.0.0.1", rack: bytes | None = None) -> bytes:
    told = struct.pack(">ih", number, len(host)) + host + struct.pack(">i", 9092)
    return told + (struct.pack(">h", -1) if rack is None else struct.pack(">h", len(rack)) + rack)


def answer(*brokers: bytes, correlation: int = 0x6262, count: int | None = None, length: int | None = None) -> bytes:
    content = struct.pack(">ii", correlation, len(brokers) if count is None else count) + b"".join(brokers)
    # After the brokers come the controller and the topics, which are not read.
    content += struct.pack(">ii", 1, 0)
    return struct.pack(">i", len(content) if length is None else length) + content


@pytest.fixture
def answering():
    """Serves one connection with those bytes; the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(content: bytes) -> int:
            def once() -> None:
                with server.accept()[0] as connection:
                    connection.recv(1024)
                    connection.sendall(content)

            threading.Thread(target=once, daemon=True).start()
            return int(server.getsockname()[1])

        yield serve


def test_the_brokers_of_a_cluster_are_told_by_their_numbers(answering):
    assert kafka_brokers(answering(answer(broker(1), broker(3, rack=b"a"), broker(20)))) == {1, 3, 20}


def test_a_broker_that_counts_nobody_yet_is_not_there(answering):
    assert not speaks_kafka(answering(answer()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        answer(broker(1), correlation=7),
        answer(broker(1), length=-1),
        answer(broker(1), length=2**31 - 1),
        answer(broker(1), count=2**31 - 1),
        answer(broker(1))[:-20],
    ],
    ids=["nothing", "http", "another question's", "no length", "endless", "more than there are", "cut"],
)
def test_an_answer_that_is_none_tells_nothing(answering, content):
    assert kafka_brokers(answering(content)) == frozenset()
