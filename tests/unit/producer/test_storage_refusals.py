"""What a store's refusals become: full and denied are told apart from away, whatever the store calls them."""

import obstore.exceptions
import pytest
from refusing_store import RefusingStore

from backburner.settings import Settings
from backburner.storage import Storage, remote
from backburner.storage.errors import ImpossibleKey, translated
from backburner.storage.provider import Provider
from backburner_schemas.errors import SettingsError, StoreDenied, StoreError, StoreFull


@pytest.fixture
def store():
    with RefusingStore() as running:
        yield running


@pytest.fixture
def storage(store, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    impatient = {"max_retries": 0}
    monkeypatch.setattr(remote, "_RETRIES", impatient)
    return Storage.open(Settings(store_url="s3://bucket/root", store_endpoint=store.endpoint))


async def scan(storage):
    return [listed async for listed in storage.scan("a/")]


async def stream(storage):
    return [piece async for piece in storage.stream("a")]


CALLS = {
    "put": lambda storage: storage.put("a", b"x"),
    "put of a large object": lambda storage: storage.put("a", bytes(9_000_000)),
    "create": lambda storage: storage.create("a", b"x"),
    "replace": lambda storage: storage.replace("a", b"x", '"tag"'),
    "get": lambda storage: storage.get("a"),
    "head": lambda storage: storage.head("a", 10),
    "stream": stream,
    "scan": scan,
    "folders": lambda storage: storage.folders("a/"),
    "delete": lambda storage: storage.delete(["a"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "refusal",
    [
        (403, "AccessDenied", StoreDenied),
        (401, "Unauthorized", StoreDenied),
        (507, "XMinioStorageFull", StoreFull),
        (400, "XMinioAdminBucketQuotaExceeded", StoreFull),
        (403, "QuotaExceeded", StoreFull),
        (503, "SlowDown", StoreError),
        (500, "InternalError", StoreError),
    ],
)
async def test_every_call_tells_full_and_denied_from_away(storage, store, call, refusal):
    status, code, error = refusal
    store.refuse(lambda _method, _path: True, status, code)
    with pytest.raises(StoreError) as raised:
        await call(storage)
    assert type(raised.value) is error
    assert raised.value.retryable is (error is StoreError)


PROVIDERS = {
    "s3": ({"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}, "AWS_SECRET_ACCESS_KEY"),
    "az": ({"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}, "AZURE_STORAGE_ACCOUNT_KEY"),
    "gs": ({"GOOGLE_SKIP_SIGNATURE": "true"}, "GOOGLE_APPLICATION_CREDENTIALS"),
}


@pytest.mark.parametrize("scheme", PROVIDERS)
async def test_the_endpoint_counts_whatever_the_provider_and_a_refusal_names_its_variables(store, monkeypatch, scheme):
    environment, remedy = PROVIDERS[scheme]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage = Storage.open(Settings(store_url=f"{scheme}://bucket/root", store_endpoint=store.endpoint))
    with pytest.raises(StoreDenied, match=remedy):
        await storage.get("a")
    assert store.refused == 1


@pytest.mark.parametrize("scheme", PROVIDERS)
def test_where_no_credentials_are_found_the_error_names_the_provider_s_variables(scheme):
    asked = "Generic error: Error performing token request: Error performing GET http://169.254.169.254/x: reset"
    error = translated(obstore.exceptions.GenericError(asked), Provider(scheme))
    assert type(error) is StoreDenied
    assert PROVIDERS[scheme][1] in error.message


@pytest.mark.parametrize("job", ["169.254.169.254", "metadata.google.internal"])
def test_a_job_that_is_called_like_a_metadata_service_does_not_make_an_outage_look_like_missing_credentials(job):
    asked = f"Generic S3 error: Error performing GET http://store/bucket/tenants/t/jobs/{job}/job.json in 20s: reset"
    assert translated(obstore.exceptions.GenericError(asked)).retryable


def test_azure_without_an_account_is_told_which_variable_names_it(monkeypatch):
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        Storage.open(Settings(store_url="az://container/root"))


def test_an_endpoint_that_azures_client_would_pass_over_is_refused(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    Storage.open(Settings(store_url="az://container/root"))
    with pytest.raises(SettingsError, match="AZURITE_BLOB_STORAGE_URL"):
        Storage.open(Settings(store_url="az://container/root", store_endpoint="http://127.0.0.1:9"))


async def test_a_key_that_a_store_takes_none_of_is_not_tried_again(storage, store):
    store.refuse(lambda _method, _path: True, 400, "KeyTooLongError")
    with pytest.raises(ImpossibleKey):
        await storage.put("a", b"x")


async def test_a_store_that_refuses_is_not_away(storage):
    with pytest.raises(StoreDenied):
        await storage.put("a", b"x")
    assert storage.unavailable_reason() is None


async def test_a_store_that_does_not_answer_is_away_until_it_does(store, monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(remote, "_RETRIES", {"max_retries": 0})
    opened = Storage.open(Settings(store_url="s3://bucket/root", store_endpoint=store.endpoint))
    storage = Storage(opened._store, clock=lambda: Clock.now)
    store.refuse(lambda method, _path: method == "PUT", 503, "SlowDown")
    with pytest.raises(StoreError):
        await storage.put("a", b"x")
    Clock.now = 6.0
    assert storage.unavailable_reason().startswith("writes have not been answered for 6 s")
    # That it still gives says nothing of whether it takes.
    store.refuse(lambda method, _path: method == "PUT", 404, "NoSuchKey")
    with pytest.raises(StoreError):
        await storage.put("a", b"x")
    assert storage.unavailable_reason() is None


def test_a_full_disk_is_full_and_a_read_only_one_denied():
    said = "Generic LocalFileSystem error: Unable to {} file /data/x#1: {} (os error {})"
    full = translated(obstore.exceptions.GenericError(said.format("copy", "No space left on device", 28)))
    quota = translated(obstore.exceptions.GenericError(said.format("copy", "Disk quota exceeded", 122)))
    denied = translated(obstore.exceptions.GenericError(said.format("open", "Permission denied", 13)))
    assert (type(full), type(quota), type(denied)) == (StoreFull, StoreFull, StoreDenied)
    assert "owner" in denied.message


def test_names_in_keys_make_no_store_full():
    key = "r/tenants/QuotaExceeded/jobs/StorageFull/answers/%3CCode%3EQuotaExceeded%3C%2FCode%3E.json"
    error = obstore.exceptions.GenericError(f"Generic S3 error: Error performing PUT http://h/b/{key}: reset")
    assert type(translated(error)) is StoreError
