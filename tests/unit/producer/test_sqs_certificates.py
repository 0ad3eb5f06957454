"""An SQS server that is not AWS's, behind TLS with a certificate of a private authority."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from authority import Authority

from backburner.publishers import open_publisher
from backburner.publishers.sqs.connection import is_lasting, sqs_client, sqs_session
from backburner.settings import Settings
from backburner_schemas.errors import QueueError, SettingsError


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class _NoQueues(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b"{}"
        self.send_response(200)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that does not trust it hangs up."""


@pytest.fixture(scope="module")
def queue_url(authority):
    files = authority.sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with _Server(("127.0.0.1", 0), _NoQueues) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"sqs://us-east-1?endpoint=https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")


def client(queue_url, **more):
    settings = Settings.load(queue_url=queue_url, store_url="memory:///", **more)
    return sqs_client(sqs_session(settings), settings, connections=1, read_seconds=5.0, attempts=1)


@pytest.mark.parametrize("variable", ["BACKBURNER_STORE_CA_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_store_s_authorities_hold_for_an_sqs_server_of_ones_own(authority, queue_url, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority.file))
    assert client(queue_url).list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("url", ["sqs://eu-west-1", "sqs://eu-west-1?endpoint=https://sqs.eu-west-1.amazonaws.com"])
def test_aws_itself_is_trusted_as_ever(tmp_path, url):
    client(url, store_ca_file=str(tmp_path / "gone.pem"))


def test_a_file_that_is_not_there_is_named(queue_url, tmp_path):
    with pytest.raises(SettingsError, match="BACKBURNER_STORE_CA_FILE"):
        client(queue_url, store_ca_file=str(tmp_path / "gone.pem"))


async def test_without_its_authority_the_error_names_the_certificate_and_the_setting(queue_url):
    publisher = open_publisher(Settings.load(queue_url=queue_url, store_url="memory:///"))
    with pytest.raises(QueueError, match=r"certificate .* BACKBURNER_STORE_CA_FILE") as caught:
        await publisher.start()
    assert is_lasting(caught.value.__cause__)
    await publisher.close()
