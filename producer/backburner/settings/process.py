"""Settings of a long-lived part as a process: worker, gateway, dispatcher."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup


class ProcessSettings(SettingGroup):
    """Process: where it is watched, and how it ends."""

    http_host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the pod
    """Address that `/livez`, `/readyz` and `/metrics` listen on."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of `/livez`, `/readyz` and `/metrics`; 0 takes a free one and logs it."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds that what is under way gets to finish after SIGTERM."""
