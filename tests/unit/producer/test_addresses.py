"""Users and passwords in addresses never reach an error or a log."""

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
