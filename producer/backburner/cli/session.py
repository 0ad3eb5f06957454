"""What a command gets beside its arguments: how to reach the system, and what to print on Ctrl-C."""

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
    """One run of the command line. Tests replace how it opens a client."""

    open_client: Callable[[], "Client"] = _client_from_settings
    """Creates the client; its settings come from BACKBURNER_… variables."""
    verbose: bool = False
    """Whether -v was given, before or after the command."""
    on_interrupt: str = "interrupted"
    """What to print on Ctrl-C; a command sets it as soon as it is known."""
