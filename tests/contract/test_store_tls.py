"""A store behind TLS with a certificate of a private authority, as on premises: the store's own program, for real."""

import pytest
import secure_store
from authority import Authority

from backburner.local.programs import store as local_store
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import SettingsError, StoreUntrusted

VARIABLES = ("BACKBURNER_STORE_CA_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def running(tmp_path_factory, missing_server, authority):
    try:
        local_store.find_weed()
    except SettingsError as error:
        missing_server(str(error))
    with secure_store.start(tmp_path_factory.mktemp("store"), authority.sign("server")) as store:
        yield store


@pytest.fixture
def settings(running, monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return lambda: Settings.load(store_url=f"s3://backburner/{tmp_path.name}", store_endpoint=running.secure_endpoint)


@pytest.mark.parametrize("variable", VARIABLES)
async def test_each_of_the_variables_names_the_authority(settings, authority, monkeypatch, variable):
    monkeypatch.setenv(variable, str(authority.file))
    storage = Storage.open(settings())
    await storage.put("k", b"x" * 9_000_000)
    assert len((await storage.get("k", max_bytes=10_000_000)).data) == 9_000_000
    assert [listed.key async for listed in storage.scan("")] == ["k"]


async def test_the_setting_comes_first(settings, authority, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(Authority(tmp_path, "another").file))
    monkeypatch.setenv("BACKBURNER_STORE_CA_FILE", str(authority.file))
    await Storage.open(settings()).put("k", b"x")


async def test_without_its_authority_the_error_names_the_certificate_and_the_setting(settings):
    storage = Storage.open(settings())
    for call in (storage.put("k", b"x"), storage.of_tenant("t").get("tenants/t/k"), storage.ask("k")):
        with pytest.raises(StoreUntrusted, match=r"certificate .* authority .* BACKBURNER_STORE_CA_FILE") as caught:
            await call
        assert not caught.value.retryable
    assert storage.unavailable_reason() is None
