"""Addresses are judged before anything is asked there; users and passwords in them reach no error and no log."""

import pytest

from backburner.settings import Settings
from backburner.settings.queue_url import parse_queue
from backburner.storage import Storage
from backburner_schemas.errors import SettingsError

SECRETS = [
    "user:hush@",
    "user:hu:sh@",
    "hush@",
    "user:h@ush@",
    "user:hu/sh@",
    "user:hu?sh@",
    "user:hu#sh@",
    "user:h[ush@",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "url",
    [
        "kafka://{}h:1",
        "kafka://h:1,{}h:2",
        "sqs://{}eu-west-1",
        "sqs://eu-west-1?endpoint=http://{}h:1",
        "amqp://{}h:1",
    ],
)
def test_a_queues_url_holds_no_user(url, secret):
    with pytest.raises(SettingsError) as caught:
        parse_queue(url.format(secret))
    assert "h@ush" not in caught.value.message
    assert "hu" not in caught.value.message.replace("…@h", "")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("url", ["s3://{}bucket/root", "gs://{}bucket", "ftp://{}h/x", "https://{}h/x"])
def test_a_stores_url_holds_no_user(url, secret):
    with pytest.raises(SettingsError) as caught:
        Storage.open(Settings(store_url=url.format(secret)))
    assert "hush" not in caught.value.message
    assert "hu" not in caught.value.message


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("endpoint", ["http://{}h:1", "https://{}h", "ftp://{}h"])
def test_a_stores_endpoint_holds_no_user(monkeypatch, endpoint, secret):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(SettingsError) as caught:
        Storage.open(Settings(store_url="s3://bucket", store_endpoint=endpoint.format(secret)))
    assert "hu" not in caught.value.message.replace("…@h", "")


def test_a_key_in_a_store_may_have_an_at_sign(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    Storage.open(Settings(store_url="s3://bucket/a@b"))


@pytest.fixture
def s3_keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
@pytest.mark.parametrize("address", ["localhost:9000", "ftp://h", "http://local host:1", "http://a_b!c", "http://:1"])
def test_an_endpoint_that_the_client_would_panic_at_is_refused_by_its_variables_name(
    s3_keys, monkeypatch, variable, address
):
    monkeypatch.setenv(variable, address)
    with pytest.raises(SettingsError, match=f"^{variable} .* is not understood"):
        Storage.open(Settings(store_url="s3://bucket"))


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9000", "http://[::1]:9000", "http://s3_1.example"])
def test_awss_own_variables_for_an_endpoint_hold_without_tls_too(s3_keys, monkeypatch, variable, address):
    monkeypatch.setenv(variable, address)
    store = Storage.open(Settings(store_url="s3://bucket"))._store
    assert store.config["endpoint"] == address
    assert store.client_options["allow_http"]


@pytest.mark.parametrize("url", ["file:///{}/run#1", "file:///{}/run?1", "s3://bucket/run#1", "gs://bucket/run?x=1"])
def test_what_would_be_passed_over_in_a_stores_url_is_refused(s3_keys, tmp_path, url):
    with pytest.raises(SettingsError, match="%23"):
        Storage.open(Settings(store_url=url.format(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_s_name_may_be_encoded(tmp_path):
    for name in ("run%231", "run%232", "a%20b", "100%25"):
        Storage.open(Settings(store_url=f"file://localhost{tmp_path}/{name}"))
    assert {path.name for path in tmp_path.iterdir()} == {"run#1", "run#2", "a b", "100%"}


@pytest.mark.parametrize("name", ["a%00b", "x" * 300])
def test_a_folder_that_cannot_be_is_an_error_of_ours(tmp_path, name):
    with pytest.raises(SettingsError, match="cannot be created"):
        Storage.open(Settings(store_url=f"file://{tmp_path}/{name}"))
