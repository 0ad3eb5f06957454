"""Credentials in files that change while a process runs."""

import os
import ssl
from unittest.mock import Mock, patch

import obstore
import pytest
from authority import Authority
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from obstore.store import S3Store

from backburner.credentials.aws import chain_keys
from backburner.credentials.files import FromFiles, read_secret
from backburner.credentials.shared_file import AwsKeys, read_keys
from backburner.publishers.kafka.connection import kafka_connection
from backburner.publishers.sqs.connection import sqs_client, sqs_session
from backburner.runtime.until_stored import STOPS_THE_PROCESS
from backburner.settings import Settings
from backburner.storage import Storage
from backburner.storage.renewed_keys import RenewedKeys, renewed_keys
from backburner_schemas.errors import SettingsError, StoreDenied, StoreError

FILE = "AWS_SHARED_CREDENTIALS_FILE"
KEYS = "[default]\naws_access_key_id = {0}\naws_secret_access_key = {0}%secret\n"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "secret"


def value_of(file):
    return FromFiles("a test's secret", [file], lambda: read_secret("VARIABLE", file))


def test_a_secret_that_changes_is_read_again_and_said_once(file, caplog):
    file.write_text("first\n")
    value = value_of(file)
    file.write_text("second")
    with caplog.at_level("INFO"):
        assert [value.current(), value.current()] == ["second", "second"]
    assert [one.levelname for one in caplog.records] == ["INFO"]
    assert "second" not in caplog.text


def test_a_link_that_is_turned_is_seen_as_kubernetes_turns_it(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").write_text(name)
        os.utime(tmp_path / name / "secret", (1, 1))
    (tmp_path / "data").symlink_to("one")
    value = value_of(tmp_path / "data" / "secret")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    assert value.current() == "two"


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: file.write_text("\n")])
def test_what_cannot_be_used_is_no_reason_to_give_up_what_worked(file, spoil, caplog):
    file.write_text("first")
    value = value_of(file)
    spoil(file)
    assert [value.current(), value.current()] == ["first", "first"]
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    file.write_text("third")
    assert value.current() == "third"


def test_what_could_not_be_read_is_read_as_soon_as_it_can_be_although_it_does_not_change_again(file, caplog):
    file.write_text("first")
    readable = True

    def load():
        if not readable:
            raise SettingsError("it cannot be read")
        return file.read_text()

    value = FromFiles("a test's secret", [file], load)
    file.write_text("second")
    readable = False
    assert [value.current(), value.current()] == ["first", "first"]
    readable = True
    assert value.current() == "second"
    assert [one.levelname for one in caplog.records if one.levelname != "INFO"] == ["WARNING"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * 70_000])
def test_what_is_no_secret_is_refused_at_the_start(file, content):
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"VARIABLE .* name the file with the secret"):
        value_of(file)


def kafka(**given):
    return kafka_connection(
        Settings.load(
            queue_url="kafka://127.0.0.1:9092", **{f"kafka_security_{name}": value for name, value in given.items()}
        )
    )


def test_each_connection_takes_the_certificates_of_its_moment(tmp_path):
    files = {}
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        files[name] = Authority(tmp_path / name)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(files["old"].file.read_bytes())
    context = kafka(protocol="SSL", ca_file=str(ca))["ssl_context"]
    assert handshake(context, files["old"]) is None
    ca.write_bytes(files["new"].file.read_bytes())
    assert isinstance(handshake(context, files["old"]), ssl.SSLCertVerificationError)
    assert handshake(context, files["new"]) is None


def test_a_key_that_does_not_fit_its_certificate_yet_is_waited_for(tmp_path):
    authority = Authority(tmp_path)
    old, new = authority.sign("old"), authority.sign("new")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert.write_bytes(old.cert.read_bytes())
    key.write_bytes(old.key.read_bytes())
    context = kafka(protocol="SSL", ca_file=str(authority.file), cert_file=str(cert), key_file=str(key))["ssl_context"]
    cert.write_bytes(new.cert.read_bytes())
    assert handshake(context, authority) is None
    assert shown_to_server(context, authority) == "old"
    key.write_bytes(new.key.read_bytes())
    assert shown_to_server(context, authority) == "new"


def handshake(context, authority, server=None):
    """What fails on the client's side of a handshake with a server whose certificate that authority signed."""
    server = server or server_context(authority)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, other, client, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return error
    context.peer = other.getpeercert()
    return None


def shown_to_server(context, authority):
    """The name in the certificate that a server gets to see."""
    server = server_context(authority)
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    assert handshake(context, authority, server) is None
    return context.peer["subject"][0][0][1]


def server_context(authority):
    files = authority.sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"username": "u"}, "PASSWORD_FILE"),
        ({"username": "u", "password": "p", "password_file": "f"}, "both set"),
        ({"username": "u", "password_file": "/nowhere"}, "PASSWORD_FILE /nowhere cannot be read"),
        ({"mechanism": "GSSAPI"}, "OAUTHBEARER"),
    ],
)
def test_passwords_that_cannot_be_used_are_named(given, said):
    with pytest.raises(SettingsError, match=said):
        kafka(protocol="SASL_SSL", **given)


# --- S3 keys ---


@pytest.fixture
def shared(tmp_path, monkeypatch):
    for name in ("AWS_PROFILE", FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".aws" / "credentials"


def test_the_keys_of_the_usual_file_are_those_of_now(shared):
    assert renewed_keys() is None
    shared.parent.mkdir()
    shared.write_text(KEYS.format("one"))
    keys = renewed_keys()
    assert keys()["access_key_id"] == "one"
    assert keys()["secret_access_key"] == "one%secret"
    shared.write_text(KEYS.format("other"))
    assert keys()["access_key_id"] == "other"
    shared.write_text("[other]\n")
    assert keys()["access_key_id"] == "other"


def test_a_profile_has_its_own_keys(shared, monkeypatch):
    shared.parent.mkdir()
    shared.write_text(
        KEYS.format("one") + "[night]\naws_access_key_id=n\naws_secret_access_key=s\naws_session_token=t\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "night")
    assert read_keys(shared) == AwsKeys("n", "s", "t")
    assert renewed_keys()()["token"] == "t"


@pytest.mark.parametrize(
    "content", ["aws_secret_access_key = hush\n", "[default]\nhush\n", "[default]\naws_access_key_id=hush\n"]
)
def test_a_broken_file_is_named_and_not_quoted(shared, monkeypatch, content):
    file = shared.with_name("named")
    file.parent.mkdir()
    file.write_text(content)
    monkeypatch.setenv(FILE, str(file))
    with pytest.raises(SettingsError, match=FILE) as caught:
        renewed_keys()
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_named_file_that_is_not_there_is_an_error(shared, monkeypatch):
    monkeypatch.setenv(FILE, str(shared))
    with pytest.raises(SettingsError, match=FILE):
        renewed_keys()


def test_a_profile_of_awss_own_kinds_goes_through_awss_chain(shared, monkeypatch):
    shared.parent.mkdir()
    script = shared.with_name("keys.sh")
    script.write_text("""echo '{"Version": 1, "AccessKeyId": "made", "SecretAccessKey": "s"}'""")
    shared.with_name("config").write_text(f"[profile night]\ncredential_process = sh {script}\n")
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert renewed_keys()()["access_key_id"] == "made"


async def test_keys_that_cannot_be_renewed_for_now_are_an_outage_and_end_no_process():
    def away():
        raise SettingsError("AWS's credentials cannot be used: its token service is away; correct the role")

    store = S3Store("bucket", endpoint="https://store.invalid", credential_provider=RenewedKeys(away))
    with pytest.raises(StoreError, match="token service is away") as raised:
        await Storage(store).get("a")
    assert raised.value.retryable
    assert not isinstance(raised.value, STOPS_THE_PROCESS)


def test_a_role_that_aws_itself_refuses_is_told_as_what_it_is(monkeypatch):
    refusal = ClientError({"Error": {"Code": "AccessDenied", "Message": "not this role"}}, "AssumeRole")
    monkeypatch.setattr(Session, "get_credentials", Mock(side_effect=refusal))
    with pytest.raises(SettingsError, match=r"not this role.*; correct the profile or the role"):
        chain_keys()


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4566"])
def test_sqs_signs_with_the_keys_that_the_file_has_at_that_moment(shared, monkeypatch, endpoint):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    shared.parent.mkdir()
    shared.write_text(KEYS.format("first"))
    url = "sqs://eu-central-1" + (f"?endpoint={endpoint}" if endpoint else "")
    settings = Settings(queue_url=url, store_url="memory:///")
    session = sqs_session(settings)
    client = sqs_client(session, settings, connections=1, read_seconds=1.0, attempts=1)
    signed = []
    client.meta.events.register("before-send.sqs", lambda request, **_: signed.append(request.headers["Authorization"]))
    with pytest.raises(BotoCoreError), patched_send():
        client.list_queues()
    shared.write_text(KEYS.format("second"))
    with pytest.raises(BotoCoreError), patched_send():
        client.list_queues()
    assert [b"Credential=first/" in one or b"Credential=second/" in one for one in signed] == [True, True]
    assert b"Credential=second/" in signed[1]


def patched_send():
    """No request goes out."""
    return patch.object(URLLib3Session, "send", side_effect=EndpointConnectionError(endpoint_url="none"))


def test_the_keys_of_awss_own_chain_are_those_that_the_file_has_at_that_moment(shared, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    shared.parent.mkdir()
    shared.write_text(KEYS.format("first"))
    keys = chain_keys()
    shared.write_text(KEYS.format("second"))
    assert keys().key_id == "second"


async def test_a_metadata_service_that_is_away_for_a_moment_is_an_outage_once_the_store_was_used():
    storage = Storage.open(Settings(store_url="memory:///"))

    async def away():
        raise obstore.exceptions.GenericError("Error performing GET http://169.254.169.254/latest/api/token: reset")

    with pytest.raises(StoreDenied):
        await storage._asking(storage._reads, away)
    await storage.put("a", b"")
    for one in (storage, storage.of_tenant("t")):
        with pytest.raises(StoreError) as raised:
            await one._asking(one._reads, away)
        assert raised.value.retryable
        assert not isinstance(raised.value, STOPS_THE_PROCESS)
