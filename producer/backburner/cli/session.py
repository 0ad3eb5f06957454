"""What a command is given beside its arguments: how to reach the system, and what to say on Ctrl-C."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backburner.client import Client


def _client_from_settings() -> "Client":
    from backburner.client import Client

    return Client()


@dataclass(slots=True)
class Session:
    """One run of the command line. Tests put their own way to open a client in."""

    open_client: Callable[[], "Client"] = _client_from_settings
    """Makes the client; its settings come from BACKBURNER_… variables."""
    verbose: bool = False
    """Whether -v was given, before or after the command."""
    on_interrupt: str = "interrupted"
    """What Ctrl-C leaves behind; a command says so as soon as it knows."""
