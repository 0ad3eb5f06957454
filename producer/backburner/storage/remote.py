"""Opens a store that is reached over a network, by the scheme of its URL. It makes no request."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from backburner.settings import Settings
from backburner.settings.addresses import check_no_user, shown
from backburner.settings.authorities import PUBLIC_AUTHORITY, STORE_CA_FILE
from backburner.storage.errors import one_line
from backburner.storage.provider import Provider
from backburner.storage.renewed_keys import renewed_keys
from backburner_schemas.errors import SettingsError

if TYPE_CHECKING:
    # obstore has these names for type checkers only.
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, RetryConfig, S3Config

_S3_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+(?:%[A-Za-z0-9]+)?")
"""A name or an address. The client panics at what is neither."""
_REQUEST_SECONDS = 30
_CONNECT_SECONDS = 5
_NO_AUTHORITIES = "No CA certificates were loaded from the system"
"""As the client says it."""
_RETRIES: "RetryConfig" = {
    # Rides out an outage of about 10 s without an error; the caller retries after longer ones.
    "max_retries": 10,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2), "base": 2.0},
}


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """A store's client, and one that tries nothing twice."""

    patient: ObjectStore
    once: ObjectStore | None
    """For finding out whether the server's certificate is trusted; None where only public authorities can matter."""


def open_remote(provider: Provider, bucket: str, settings: Settings) -> RemoteStore:
    """The client of that bucket. Raises `SettingsError` for settings that cannot be used together."""
    url = f"{provider}://{bucket}"
    endpoint = _endpoint(provider, settings)
    client: ClientConfig = {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
    }
    without_tls = endpoint is not None and endpoint.startswith("http://")
    if without_tls:
        client["allow_http"] = True
        # The client isn't built where it finds no authorities at all, not even for a server that needs none.
        client["root_certificate"] = PUBLIC_AUTHORITY
    authorities = settings.store_authorities
    # What others are told to trust is nothing to a store that is reached without TLS.
    if authorities is not None and (not without_tls or authorities.variable == STORE_CA_FILE):
        client["root_certificate"] = authorities.read()
    try:
        patient = _OPENERS[provider](url, endpoint, client, _RETRIES, settings)
        if endpoint is None or without_tls:
            return RemoteStore(patient, None)
        client["timeout"] = client["connect_timeout"]
        return RemoteStore(patient, _OPENERS[provider](url, endpoint, client, {"max_retries": 0}, settings))
    except (BaseError, ValueError) as error:
        if _NO_AUTHORITIES in str(error):
            raise SettingsError(
                f"the store {url} cannot be opened: this machine has no certificates of authorities to trust a server "
                f"by; install the package ca-certificates, or name a PEM file in {STORE_CA_FILE}"
            ) from error
        raise SettingsError(
            f"the store {url} cannot be opened ({one_line(error)}); check BACKBURNER_STORE_URL, and "
            f"{provider.credentials_remedy}"
        ) from error


def _endpoint(provider: Provider, settings: Settings) -> str | None:
    variable, endpoint = "BACKBURNER_STORE_ENDPOINT", settings.store_endpoint
    if provider is Provider.S3 and not endpoint:
        # The client reads these by itself as well, and would neither check them nor do without TLS.
        variable = next((name for name in _S3_ENDPOINTS if os.environ.get(name)), variable)
        endpoint = os.environ.get(variable)
    if not endpoint:
        return None
    check_no_user(variable, endpoint, "take it out, and give the store's credentials as docs/stores.md lists them")
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and parts.port != 0 and bool(_HOST.fullmatch(parts.hostname or ""))
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{variable} {shown(endpoint)!r} is not understood; write it as in https://store.example:9000"
        )
    return endpoint


def _open_s3(
    url: str, endpoint: str | None, client: "ClientConfig", retries: "RetryConfig", settings: Settings
) -> ObjectStore:
    config: S3Config = {"region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"}
    if (own := settings.aws) is not None:
        config |= {"access_key_id": own.key_id, "secret_access_key": own.secret}
        if own.session_token is not None:
            config["session_token"] = own.session_token
        if own.region is not None:
            config["region"] = own.region
        if endpoint is not None:
            config["endpoint"] = endpoint
        return S3Store.from_url(url, config=config, client_options=client, retry_config=retries)
    # In AWS's own order: what the environment says comes before any file.
    keys = None if any(os.environ.get(name) for name in _S3_CREDENTIALS) else renewed_keys()
    if endpoint is not None:
        if keys is None and not any(os.environ.get(name) for name in _S3_CREDENTIALS):
            # Without this the client would query AWS's metadata service, on a server that is not AWS's.
            raise SettingsError(
                f"no credentials for the store at {endpoint}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_SHARED_CREDENTIALS_FILE"
            )
        config["endpoint"] = endpoint
    return S3Store.from_url(url, config=config, client_options=client, retry_config=retries, credential_provider=keys)


def _open_google(
    url: str, endpoint: str | None, client: "ClientConfig", retries: "RetryConfig", _: Settings
) -> ObjectStore:
    config: GCSConfig = {} if endpoint is None else {"base_url": endpoint}
    return GCSStore.from_url(url, config=config, client_options=client, retry_config=retries)


def _open_azure(
    url: str, endpoint: str | None, client: "ClientConfig", retries: "RetryConfig", _: Settings
) -> ObjectStore:
    config: AzureConfig = {}
    if endpoint is not None:
        if os.environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in {"1", "true"}:
            # The client would go to the emulator's own address, whatever it is told beside.
            raise SettingsError(
                "BACKBURNER_STORE_ENDPOINT does not go together with AZURE_STORAGE_USE_EMULATOR; unset the latter, or "
                "give its address in AZURITE_BLOB_STORAGE_URL instead"
            )
        config["endpoint"] = endpoint
    return AzureStore.from_url(url, config=config, client_options=client, retry_config=retries)


_OPENERS = {Provider.S3: _open_s3, Provider.GOOGLE: _open_google, Provider.AZURE: _open_azure}
