"""Where the embedded gateway listens: the same place, and the same key, from one `up` to the next."""

import socket

import pytest

from backburner.local.programs.front import Front
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner_schemas.errors import SettingsError


@pytest.fixture
def leases(tmp_path):
    with PortLeases(tmp_path / "ports") as held:
        yield held


def test_port_and_key_are_those_of_the_last_up(tmp_path, leases):
    first = Front(tmp_path, leases)
    assert first.api_key is None
    first.keep("bb-key")
    leases.close()
    second = Front(tmp_path, leases)
    assert (second.port, second.api_key) == (first.port, "bb-key")
    assert second.variables == {"OPENAI_BASE_URL": f"http://127.0.0.1:{first.port}/v1", "OPENAI_API_KEY": "bb-key"}
    assert (tmp_path / "gateway.json").stat().st_mode & 0o777 == 0o600


def test_a_port_that_was_asked_for_and_is_taken_is_refused_with_the_way_out(tmp_path, leases):
    with (
        socket.create_server((LOOPBACK, 0)) as taken,
        pytest.raises(SettingsError, match="give --gateway-port another"),
    ):
        Front(tmp_path, leases, taken.getsockname()[1])


def test_a_port_that_was_asked_for_is_the_next_ups_too(tmp_path, leases):
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    Front(tmp_path, leases, port).keep("bb-key")
    leases.close()
    assert Front(tmp_path, leases).port == port
