"""Tokens for Kafka: each way to come by one, what is kept, and what is said when none comes."""

import asyncio
import base64
import contextlib
import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from aiokafka.errors import KafkaError
from tokens import Issuer

from backburner.credentials import aws
from backburner.credentials.aws import msk_token, region_of
from backburner.publishers.kafka.connection import kafka_connection
from backburner.publishers.kafka.security import tokens as token_sources
from backburner.publishers.kafka.security.token_endpoint import EndpointFailed, TokenEndpoint
from backburner.publishers.kafka.security.token_threads import MAX_THREADS_COUNT
from backburner.settings import Settings
from backburner_schemas.errors import SettingsError

SECRET = "a & ü:%"


def settings(**given):
    return Settings.load(
        queue_url="kafka://127.0.0.1:9092",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_security_mechanism="OAUTHBEARER",
        **{f"kafka_security_{name}": value for name, value in given.items()},
    )


def provider(**given):
    return kafka_connection(settings(**given))["sasl_oauth_token_provider"]


@pytest.fixture
def issuer():
    return Issuer({"nightly": SECRET})


@pytest.fixture
def url(issuer):
    with issuer.endpoint() as url:
        yield url


def endpoint(url, **more):
    return TokenEndpoint(url, **{"client_id": "nightly", "secret": lambda: SECRET, **more})


async def test_a_token_comes_from_the_endpoint_by_client_credentials(issuer, url):
    tokens = provider(token_url=url, client_id="nightly", client_secret=SECRET, scope="kafka.write")
    assert (await tokens.token()).count(".") == 2
    assert issuer.scopes == ["kafka.write"]


async def test_a_young_token_is_kept_and_an_old_one_is_not(issuer, url):
    now = 0.0
    tokens = endpoint(url, clock=lambda: now)
    issuer.seconds = 100.0
    first = await tokens.token()
    now = 79.0
    assert await tokens.token() == first
    now = 81.0
    await tokens.token()
    assert issuer.asked == 2


async def test_an_old_token_that_is_still_good_outlives_an_endpoint_that_is_away(issuer, url):
    now = 0.0
    tokens = endpoint(url, clock=lambda: now)
    issuer.seconds = 100.0
    first = await tokens.token()
    issuer.answer = (503, {})
    now = 99.0
    assert await tokens.token() == first
    now = 101.0
    with pytest.raises(EndpointFailed, match="503"):
        await tokens.token()


async def test_a_secret_in_a_file_is_read_for_each_token(issuer, url, tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    tokens = provider(token_url=url, client_id="nightly", client_secret_file=str(file))
    issuer.seconds = 0.0
    await tokens.token()
    issuer.clients["nightly"] = "another"
    with pytest.raises(KafkaError, match="invalid_client"):
        await tokens.token()
    file.write_text("another")
    assert await tokens.token()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}), "without an access_token"),
        ((200, b"\xff"), "without an access_token"),
        ((200, b"[" * 300_000), "without an access_token"),
        ((200, b"[" * 200_000), "without an access_token"),
        ((200, {"access_token": 7}), "without an access_token"),
        ((302, {}), "302"),
        ((400, {"error": "invalid_scope"}), "invalid_scope; check BACKBURNER_KAFKA_SECURITY_SCOPE"),
        ((401, {"error": "invalid_client"}), "check BACKBURNER_KAFKA_SECURITY_CLIENT_ID"),
        ((500, b"[" * 200_000), "500; check BACKBURNER_KAFKA_SECURITY_TOKEN_URL"),
        ((500, b"<html>"), "500; check BACKBURNER_KAFKA_SECURITY_TOKEN_URL"),
    ],
)
async def test_what_an_endpoint_answers_instead_is_told(issuer, url, answer, said):
    issuer.answer = answer
    with pytest.raises(EndpointFailed, match=said) as caught:
        await endpoint(url).token()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("said", [1e300, float("inf"), 10**400, "90000"], ids=["float", "inf", "int", "text"])
async def test_a_life_without_end_is_bounded(issuer, url, said):
    now = 0.0
    tokens = endpoint(url, clock=lambda: now)
    issuer.answer = (200, {"access_token": "first", "expires_in": said})
    assert await tokens.token() == "first"
    issuer.answer = (200, {"access_token": "next", "expires_in": 60})
    now = 3600.0
    assert await tokens.token() == "first"
    now = 24 * 3600.0
    assert await tokens.token() == "next"


async def test_a_token_in_a_file_is_read_for_each_connection(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    tokens = provider(token_file=str(file))
    assert await tokens.token() == "first"
    file.write_text("second")
    assert await tokens.token() == "second"
    file.unlink()
    with pytest.raises(KafkaError, match="TOKEN_FILE"):
        await tokens.token()


async def plain_or_not():
    return "async"


@pytest.mark.parametrize("function", [lambda: "plain", plain_or_not, partial(plain_or_not)])
async def test_a_function_may_be_plain_or_async(function):
    assert await provider(token_provider=function).token() in {"plain", "async"}


async def test_a_function_is_found_by_its_name():
    tokens = provider(token_provider="time:tzset")
    with pytest.raises(KafkaError, match="no token"):
        await tokens.token()
    assert await provider(token_provider="platform:python_implementation").token() == "CPython"


@pytest.mark.parametrize("name", ["os", "nowhere:f", "os:nowhere", "os:sep", ":f", "os:"])
def test_a_name_that_is_no_function_is_refused(name):
    with pytest.raises(SettingsError, match="BACKBURNER_KAFKA_SECURITY_TOKEN_PROVIDER"):
        provider(token_provider=name)


@pytest.mark.parametrize("token", ["", "a b", "a\x01auth=x", "ü", 7, None, "x" * 70_000])
async def test_what_is_no_token_is_not_sent(token):
    with pytest.raises(KafkaError, match="no token"):
        await provider(token_provider=lambda: token).token()


async def test_a_function_that_raises_is_told_in_part():
    def broken():
        raise ValueError("x" * 5000)

    with pytest.raises(KafkaError) as caught:
        await provider(token_provider=broken).token()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs one of"),
        ({"token_provider": "os:getcwd", "token_url": "http://x/t"}, "needs one of"),
        ({"token_url": "ftp://x"}, "TOKEN_URL is not understood"),
        ({"token_url": "http://u:p@x/t"}, "TOKEN_URL is not understood"),
        ({"token_url": "https://[x/t"}, "TOKEN_URL is not understood"),
        ({"token_url": "http://x/t"}, "CLIENT_ID"),
        ({"token_url": "http://x/t", "client_id": "c"}, "CLIENT_SECRET"),
        (
            {"token_url": "http://x/t", "client_id": "c", "client_secret": "s", "client_secret_file": "f"},
            "CLIENT_SECRET",
        ),
        ({"token_url": "https://x/t", "client_id": "c", "client_secret": "s", "token_ca_file": "/no"}, "TOKEN_CA_FILE"),
        ({"token_file": "/nowhere"}, "TOKEN_FILE"),
        ({"token_provider": "os:getcwd", "extensions": "auth=x"}, "EXTENSIONS"),
        ({"token_provider": "os:getcwd", "extensions": "a=\x01"}, "EXTENSIONS"),
    ],
)
def test_settings_that_cannot_be_used_are_named(given, said):
    with pytest.raises(SettingsError, match=said) as caught:
        provider(**given)
    assert "u:p" not in caught.value.message


def test_extensions_go_with_each_token():
    tokens = provider(token_provider="os:getcwd", extensions="logicalCluster=lkc-1, identityPoolId=pool-2")
    assert tokens.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}


def test_a_token_for_msk_is_what_awss_own_signer_makes(monkeypatch):
    # The value is that of aws-msk-iam-sasl-signer-python 1.0.2 for the same keys and moment.
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as botocore has it
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: moment)
    keys = SimpleNamespace(access_key="AKID", secret_key="secret", token="tok/en")
    token = msk_token("eu-west-1", keys)
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    signature = "9488b39dda5d75513e8ab46bce81eb08996a7610c84c665768cf89ee6f4320e6"
    assert "&X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host" in url
    assert f"&X-Amz-Signature={signature}&" in url


def test_a_token_for_msk_is_a_signed_call_that_nobody_makes():
    keys = SimpleNamespace(access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG", token="session/token")
    token = msk_token("eu-west-1", keys)
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert query["X-Amz-Security-Token"] == ["session/token"]
    assert query["X-Amz-Credential"][0].split("/")[2:] == ["eu-west-1", "kafka-cluster", "aws4_request"]
    assert len(query["X-Amz-Signature"][0]) == 64
    assert query["User-Agent"] == ["backburner"]
    assert "=" not in token


@pytest.mark.parametrize(
    ("server", "region"),
    [
        ("b-1.demo.abc123.c2.kafka.eu-west-1.amazonaws.com:9098", "eu-west-1"),
        ("boot-xyz.c3.kafka-serverless.us-east-2.amazonaws.com:9098", "us-east-2"),
        ("b-1.demo.abc123.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
        ("kafka.example:9092", None),
    ],
)
def test_msk_brokers_name_their_region(server, region):
    assert region_of((server,)) == region


def test_without_awss_library_msk_says_what_to_install(monkeypatch):
    monkeypatch.setattr(aws.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'backburner\[sqs\]'"):
        provider(token_provider="aws-msk-iam")


async def test_without_aws_keys_msk_says_so(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(KafkaError, match="AWS_ACCESS_KEY_ID"):
        await provider(token_provider="aws-msk-iam").token()


async def test_msk_signs_with_the_keys_of_the_moment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    token = await provider(token_provider="aws-msk-iam").token()
    assert b"AKID%2F" in base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


async def test_calls_for_a_token_that_never_come_back_take_no_thread_from_others_and_are_bounded(monkeypatch):
    monkeypatch.setattr(token_sources, "_TOKEN_SECONDS", 0.01)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    begun, silent = [], threading.Event()

    def ask():
        begun.append(1)
        silent.wait()
        return "late"

    tokens = provider(token_provider=ask)
    try:
        said = []
        for _ in range(2 * MAX_THREADS_COUNT):
            with pytest.raises(KafkaError) as raised:
                await tokens.token()
            said.append(str(raised.value))
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(lambda: "free") == "free"
        assert len(begun) == MAX_THREADS_COUNT
        assert "have not come back" in said[-1]
    finally:
        silent.set()
    monkeypatch.setattr(token_sources, "_TOKEN_SECONDS", 30)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(KafkaError):
                assert await tokens.token() == "late"
                break
            await asyncio.sleep(0)
