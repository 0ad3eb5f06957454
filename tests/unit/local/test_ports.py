import socket
import subprocess
import sys

import pytest

from backburner.local.programs import ports
from backburner.local.programs.ports import TWIN_PORT_OFFSET, PortLeases, is_free
from backburner_schemas.errors import SettingsError

HOLDER = """
import sys
from pathlib import Path
from backburner.local.programs import ports
from backburner.local.programs.ports import PortLeases
leases = PortLeases(Path(sys.argv[1]))
print(leases.take(), flush=True)
sys.stdin.read()
"""


def listen(port):
    server = socket.create_server(("127.0.0.1", port))
    server.listen()
    return server


def test_ports_of_one_process_differ_and_can_be_listened_on(tmp_path):
    with PortLeases(tmp_path) as leases:
        ports = [leases.take() for _ in range(20)]
        assert len(set(ports)) == 20
        assert all(is_free(port) for port in ports)


def test_a_preferred_port_is_taken_when_it_is_free_and_passed_over_when_not(tmp_path):
    with PortLeases(tmp_path) as leases:
        wanted = leases.take()
    with PortLeases(tmp_path) as leases:
        assert leases.take(preferred=wanted) == wanted
        assert leases.take(preferred=wanted) != wanted
    with listen(wanted), PortLeases(tmp_path) as leases:
        assert leases.take(preferred=wanted) != wanted


def test_a_port_whose_twin_is_in_use_is_passed_over(tmp_path):
    with PortLeases(tmp_path) as leases:
        wanted = leases.take(twin=True)
    with listen(wanted + TWIN_PORT_OFFSET), PortLeases(tmp_path) as leases:
        assert leases.take(preferred=wanted, twin=True) != wanted
        assert leases.take(preferred=wanted) == wanted


def test_a_twin_is_leased_with_its_port(tmp_path):
    with PortLeases(tmp_path) as first, PortLeases(tmp_path) as second:
        port = first.take(twin=True)
        assert second.take(preferred=port + TWIN_PORT_OFFSET) != port + TWIN_PORT_OFFSET


def test_another_process_keeps_its_port_until_it_dies_even_by_kill_9(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        port = int(holder.stdout.readline())
        with PortLeases(tmp_path) as leases:
            assert leases.take(preferred=port) != port
        holder.kill()
        holder.wait(30)
        with PortLeases(tmp_path) as leases:
            assert leases.take(preferred=port) == port


def test_closing_leaves_no_files(tmp_path):
    with PortLeases(tmp_path) as leases:
        leases.take(twin=True)
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_no_free_port_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("backburner.local.programs.ports.is_free", lambda _port: False)
    with PortLeases(tmp_path) as leases, pytest.raises(SettingsError, match="backburner down"):
        leases.take()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_user_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(ports.os, "getuid", lambda: 4711)
    with pytest.raises(SettingsError, match="TMPDIR"), PortLeases(tmp_path) as leases:
        leases.take()


def test_a_folder_that_is_none_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "ports").write_text("")
    with pytest.raises(SettingsError, match="TMPDIR"), PortLeases(tmp_path / "ports") as leases:
        leases.take()
