"""What a command gets beside its arguments: how to reach the system, and what to print on Ctrl-C."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backburner.client import Client
    from backburner.storage import Storage


def _client_from_settings() -> "Client":
    from backburner.client import Client

    return Client()


def _storage_from_settings() -> "Storage":
    from backburner.settings import Settings
    from backburner.storage import Storage

    return Storage.open(Settings.load())


@dataclass(slots=True)
class Session:
    """One run of the command line. Tests replace how it reaches the system."""

    open_client: Callable[[], "Client"] = _client_from_settings
    """Creates the client; its settings come from BACKBURNER_… variables."""
    open_storage: Callable[[], "Storage"] = _storage_from_settings
    """Opens the object store by itself, likewise."""
    verbose: bool = False
    """Whether -v was given, before or after the command."""
    on_interrupt: str = "interrupted"
    """What to print on Ctrl-C; a command sets it as soon as it is known."""
