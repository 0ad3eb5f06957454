"""Settings of a gateway. Read once, by the composition root."""

from typing import Annotated, Any, Self

from pydantic import Field

from backburner.gateway.auth.settings import AuthSettings
from backburner.gateway.limits.settings import LimitSettings
from backburner.settings import Settings, load_settings
from backburner.settings.group import SettingGroup
from backburner.settings.process import ProcessSettings


class GatewayServiceSettings(SettingGroup):
    """Gateway: where it serves, and what it takes."""

    gateway_listen_host: str = "0.0.0.0"  # noqa: S104 - callers come from outside the pod
    """Address that the gateway serves OpenAI's API on."""
    gateway_listen_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port of OpenAI's API; 0 takes a free one and logs it. `BACKBURNER_GATEWAY_PORT` is something else: Kubernetes'
    link to a service of that name."""
    gateway_root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$", max_length=200)] = ""
    """Path under which an ingress has the API, such as `/llm` for `https://host/llm/v1`. Calls are served with it and
    without it, whether the ingress cuts it off or not."""
    gateway_keep_alive_seconds: Annotated[int, Field(ge=1, le=7200)] = 100
    """Seconds that a connection may be idle between two calls. It must be longer than the proxy in front keeps an idle
    connection, or some calls meet one that is just being closed: docs/gateway.md lists what the usual ones do."""
    gateway_answer_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds after which a call is answered with 503 while store or queue do not answer; uploads and downloads go on
    as long as they move."""
    gateway_max_calls: Annotated[int, Field(ge=1)] = 1000
    """Calls that one gateway serves at the same time; those beyond are answered with 503."""
    gateway_max_uploads: Annotated[int, Field(ge=1)] = 64
    """Uploads that one gateway takes at the same time, each of which may hold some 32 MB of memory, and three quarters
    of them of one tenant at most; those beyond wait unread, for `BACKBURNER_GATEWAY_ANSWER_SECONDS` at most."""
    gateway_max_file_bytes: Annotated[int, Field(ge=1024)] = 200 * 1024 * 1024
    """Bytes of the largest file that can be uploaded."""
    gateway_max_batch_requests: Annotated[int, Field(ge=1)] = 50_000
    """Requests of the largest batch."""
    gateway_file_seconds: Annotated[float, Field(ge=3600)] = 30 * 24 * 3600.0
    """Seconds after which an uploaded file goes, unless its upload says otherwise."""
    gateway_sweep_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between sweeps of expired files, of uploads that were given up, and of what they left."""


class GatewaySettings(ProcessSettings, GatewayServiceSettings, AuthSettings, LimitSettings, Settings):
    """What a gateway reads from BACKBURNER_… variables, beside what every part reads."""

    @classmethod
    def load(cls, **arguments: Any) -> Self:
        """The settings from arguments, then the environment. Raises `SettingsError`."""
        return load_settings(cls, **arguments)
