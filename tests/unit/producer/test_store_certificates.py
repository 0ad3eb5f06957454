"""Certificates of stores that cannot be trusted: each is told by name, with its remedy, after one try."""

import socket
import ssl
import threading
from contextlib import contextmanager

import pytest
from authority import Authority

from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import SettingsError, StoreUntrusted


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@contextmanager
def server(files):
    """Shakes hands, and counts how often: its port, and the list that it counts in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    tried = []

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            tried.append(1)
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], tried
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        (lambda ours, other: other.sign("server"), "BACKBURNER_STORE_CA_FILE"),
        (lambda ours, other: ours.sign("server", host="store.example"), r"other names.*store\.example"),
        (lambda ours, other: ours.sign("server", days=(-9, -2)), "has expired; renew"),
        (lambda ours, other: ours.sign("server", days=(2, 9)), "not valid yet; check the clocks"),
        (lambda ours, other: ours.as_server(), "authority's own.*sign another"),
    ],
    ids=["unknown authority", "other host", "expired", "not valid yet", "authority as server"],
)
async def test_a_certificate_that_is_not_trusted_is_told_after_one_try(authority, tmp_path, sign, said):
    files = sign(authority, Authority(tmp_path, "another"))
    with server(files) as (port, tried):
        storage = Storage.open(
            Settings.load(
                store_url="s3://bucket/root",
                store_endpoint=f"https://127.0.0.1:{port}",
                store_ca_file=str(authority.file),
            )
        )
        with pytest.raises(StoreUntrusted, match=said):
            await storage.get("k")
        assert len(tried) == 1


def opened(endpoint="https://store.example", **settings):
    return Storage.open(Settings.load(store_url="s3://bucket/root", store_endpoint=endpoint, **settings))


@pytest.mark.parametrize("variable", ["BACKBURNER_STORE_CA_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_file_that_is_not_there_or_no_pem_is_named_with_its_variable(tmp_path, monkeypatch, variable):
    file = tmp_path / "ca.pem"
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(SettingsError, match=rf"{variable} {file} cannot be read \(No such file"):
        opened()
    for junk in (b"", b"junk\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_bytes(junk)
        with pytest.raises(SettingsError, match=rf"{variable} {file} holds no certificates"):
            opened()


def test_what_others_are_told_to_trust_does_not_matter_without_tls(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "gone"))
    opened("http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="BACKBURNER_STORE_CA_FILE"):
        opened("http://127.0.0.1:9", store_ca_file=str(tmp_path / "gone.pem"))


def test_a_machine_without_any_authorities_is_told_what_to_install(tmp_path, monkeypatch):
    # What the client reads by itself, and our settings do not.
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "gone"))
    with pytest.raises(SettingsError, match=r"no certificates of authorities.* ca-certificates.*STORE_CA_FILE"):
        opened()


@pytest.mark.parametrize("endpoint", ["store.example:9000", "ftp://store.example", "https://", "https://[x"])
@pytest.mark.parametrize("scheme", ["s3", "az", "gs"])
def test_an_endpoint_that_is_no_url_is_refused_with_the_right_form(scheme, endpoint):
    with pytest.raises(SettingsError, match=r"BACKBURNER_STORE_ENDPOINT .* https://store"):
        Storage.open(Settings.load(store_url=f"{scheme}://bucket/root", store_endpoint=endpoint))
