"""Settings of where a model is fetched from, for `backburner-worker fetch-model`."""

import re

from pydantic import field_validator

from backburner.settings.group import SettingGroup

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelSourceSettings(SettingGroup):
    """Model's source: what `backburner-worker fetch-model` makes the folder `BACKBURNER_MODEL` from."""

    model_source: str = ""
    """Source of the model: `s3://bucket/folder`, `gs://…`, `az://…`, `hf://org/name@revision` or `file:///folder`."""
    model_checksum: str = ""
    """SHA-256 of the file `SHA256SUMS` in the source, in hex: then nothing but what that file lists is fetched, and
    each file has to have the sum that it says."""
    model_endpoint: str | None = None
    """Address of the S3 server that `s3://` sources are on; `BACKBURNER_STORE_ENDPOINT` if not set."""

    @field_validator("model_checksum")
    @classmethod
    def _is_a_sum(cls, checksum: str) -> str:
        checksum = checksum.lower().removeprefix("sha256:")
        if checksum and not _SHA256.fullmatch(checksum):
            raise ValueError("it is no SHA-256; give the 64 hex digits that `sha256sum SHA256SUMS` prints")
        return checksum

    @field_validator("model_source")
    @classmethod
    def _names_no_secret(cls, source: str) -> str:
        if "@" in source.partition("://")[2].partition("/")[0]:
            raise ValueError("it may hold no user or password; give credentials by the provider's own variables")
        return source.rstrip("/")
