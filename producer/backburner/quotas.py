"""What tenants may take, and what share is theirs: one TOML file, read by gateway and dispatcher alike.

The file's model is pure; `QuotasFile` reads it, and reads it again when it changes.
"""

import os
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from backburner.logs import get_logger
from backburner.settings.quotas import QuotaSettings
from backburner_schemas.errors import SettingsError
from backburner_schemas.names import is_name

_LOOK_SECONDS = 1.0
"""How often it is looked whether the file is another one."""
_MAX_FILE_BYTES = 4 * 1024 * 1024
_MAX_CALLER_CHARACTERS = 255
_RATE = re.compile(r"([1-9][0-9]{0,8})(?: per |/)(second|minute|hour|day)")
_PERIOD_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        """As it is written in the file."""
        period = next(name for name, seconds in _PERIOD_SECONDS.items() if seconds == self.seconds)
        return f"{self.amount}/{period}"


def _rate_of(value: object) -> object:
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write a rate as in '50/second'; periods are second, minute, hour and day")
    return Rate(int(found[1]), _PERIOD_SECONDS[found[2]])


def _checked_tenant(value: str) -> str:
    if not is_name(value):
        raise ValueError("a tenant's name must match [A-Za-z0-9][A-Za-z0-9._-]{0,254}")
    return value


RateText = Annotated[Rate, BeforeValidator(_rate_of), PlainSerializer(str)]
Tenant = Annotated[str, AfterValidator(_checked_tenant)]
Caller = Annotated[str, Field(min_length=1, max_length=_MAX_CALLER_CHARACTERS)]
_Limit = Annotated[int, Field(ge=0, le=2**53)]


class Quota(BaseModel):
    """How much a tenant, or one of its callers, may take. What is not set is not limited."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    requests: RateText | None = None
    """Requests to the gateway, as in `50/second`."""
    concurrent_uploads: _Limit | None = None
    """Uploads at the same time."""
    jobs: _Limit | None = None
    """Batches that have not ended."""
    queued_requests: _Limit | None = None
    """Requests of these batches that have no answer yet."""
    queued_tokens: _Limit | None = None
    """Tokens of these requests, prompts and answers, as far as they can be estimated."""


class TenantQuota(Quota):
    """What a tenant may take, and what each of its callers may take of that."""

    weight: Annotated[float, Field(ge=0.000_001, le=1_000_000, strict=False)] = 1.0
    """The tenant's share where several wait: twice the weight is served twice as much."""
    stored_bytes: _Limit | None = None
    """Bytes of all files that the tenant keeps."""
    each_caller: Quota = Quota()
    """What any one caller may take: an API key, or the subject of a token."""
    callers: dict[Caller, Quota] = Field(default_factory=dict)
    """What single callers may take instead, by an API key's id or a token's subject."""

    def of_caller(self, subject: str) -> Quota:
        """What that caller may take."""
        return self.callers.get(subject, self.each_caller)


class Quotas(BaseModel):
    """The quotas of all tenants."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    default: TenantQuota = TenantQuota()
    """Of tenants that are not named."""
    tenants: dict[Tenant, TenantQuota] = Field(default_factory=dict)
    """Of those that are, completed by the default's."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The quotas in a TOML text. A tenant has the default's where it does not say otherwise.

        Raises `ValueError` that says what is wrong and where.
        """
        found = tomllib.loads(text)
        default = _completed(found.get("default", {}), {})
        tenants = found.get("tenants")
        if isinstance(default, dict) and isinstance(tenants, dict):
            found["tenants"] = {name: _completed(own, default) for name, own in tenants.items()}
        found["default"] = default
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None

    def of(self, tenant: str) -> TenantQuota:
        """What that tenant may take."""
        return self.tenants.get(tenant, self.default)

    def weight(self, tenant: str) -> float:
        """The tenant's share where several wait, 1.0 unless the file says otherwise."""
        return self.of(tenant).weight


def _completed(own: Any, default: Mapping[str, Any]) -> Any:
    """The tenant's own values, and the default's where it has none.

    `each_caller` is completed likewise, and completes the single callers. The default's single callers are its own: a
    key belongs to one tenant.
    """
    if not isinstance(own, dict):
        return own
    whole = {name: value for name, value in default.items() if name != "callers"} | own
    each, before = own.get("each_caller"), default.get("each_caller")
    if isinstance(each, dict) and isinstance(before, dict):
        whole["each_caller"] = before | each
    callers = whole.get("callers")
    if isinstance(callers, dict) and isinstance(shared := whole.get("each_caller"), dict):
        whole["callers"] = {name: shared | one if isinstance(one, dict) else one for name, one in callers.items()}
    return whole


class QuotasFile:
    """A file of quotas that may change: `current` is what it said when it last could be read.

    A new file takes effect within seconds, also one that a link leads to, as Kubernetes mounts them. One that cannot
    be used is logged once, and the quotas of before stay.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a path nothing is limited. Raises `SettingsError` if the file cannot be used now."""
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._version: tuple[int, ...] | None = None
        self._failed: tuple[int, ...] | None = None
        """The version that could not be read, if that was so the last time."""
        self._quotas = Quotas()
        if path is not None:
            try:
                self._version = _version_of(path)
                self._quotas = _read(path)
            except (OSError, ValueError, RecursionError) as error:
                raise SettingsError(
                    f"BACKBURNER_QUOTAS_FILE {path} cannot be used: {_reason(error)}; docs/auth.md lists its fields"
                ) from error

    @classmethod
    def of(cls, settings: QuotaSettings) -> Self:
        """The file that the settings name, if they name one. Raises `SettingsError` if it cannot be used now."""
        return cls(None if settings.quotas_file is None else Path(settings.quotas_file))

    def weight(self, tenant: str) -> float:
        """The tenant's share where several wait, as it is now."""
        return self.current.weight(tenant)

    @property
    def current(self) -> Quotas:
        """The quotas that hold now. Looks at the file, once a second at most; raises nothing."""
        now = self._clock()
        if self._path is not None and now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._look(self._path)
        return self._quotas

    def _look(self, path: Path) -> None:
        version: tuple[int, ...] = ()
        try:
            version = _version_of(path)
            if version == self._version:
                self._failed = None
                return
            self._quotas = _read(path)
        except (OSError, ValueError, RecursionError) as error:
            if version != self._failed:
                log.warning(
                    "the new quotas cannot be used, those of before stay", file=str(path), reason=_reason(error)
                )
            self._failed = version
            if isinstance(error, OSError):
                # What the file says may be right, and can be read at the next look.
                return
        else:
            log.info("new quotas are in force", file=str(path), tenants=len(self._quotas.tenants))
            self._failed = None
        self._version = version


def _version_of(path: Path) -> tuple[int, ...]:
    """What changes with the file's content; of a link, with that of the file behind it."""
    found = os.stat(path)  # noqa: PTH116 - the name says that links are followed
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _read(path: Path) -> Quotas:
    with path.open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {_MAX_FILE_BYTES:,} bytes")
    return Quotas.parse(data.decode())


def _reason(error: OSError | ValueError | RecursionError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
