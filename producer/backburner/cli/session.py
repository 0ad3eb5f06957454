"""What a command gets beside its arguments: how to reach the system, and how to go on where it ends early."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from backburner.client import Client
    from backburner.settings import Settings
    from backburner.storage import Storage

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """One run of the command line. Tests replace how it reaches the system."""

    verbose: bool = False
    """Whether -v was given, before or after the command."""
    quiet: bool = False
    """Whether -q was given, likewise."""
    profile: str | None = None
    """The profile that --profile names."""
    queue_url: str | None = None
    """What --queue-url names."""
    store_url: str | None = None
    """What --store-url names."""
    go_on: str = ""
    """How to go on behind Ctrl-C or an error, as a clause; a command sets it before it begins what can be half done."""
    resources: ExitStack = field(default_factory=ExitStack)
    """What is closed when the command has ended, however that was."""

    def keep(self, resource: AbstractContextManager[T]) -> T:
        """Enter it until the command has ended."""
        return self.resources.enter_context(resource)

    def settings(self, **arguments: Any) -> "Settings":
        """The settings: these, then options, then profile and environment. Raises `SettingsError`."""
        from backburner.settings import Settings

        options = {"profile": self.profile, "queue_url": self.queue_url, "store_url": self.store_url}
        return Settings.load(**{**options, **arguments})

    def open_client(self) -> "Client":
        """A client with these settings. Raises `SettingsError`."""
        from backburner.client import Client

        return Client(self.settings())

    def open_storage(self) -> "Storage":
        """The object store by itself. Raises `SettingsError`."""
        from backburner.storage import Storage

        return Storage.open(self.settings())
