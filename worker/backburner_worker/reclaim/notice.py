"""What a notice is: the machine will be taken back. Where they come from, and what each says. No I/O."""

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class NoticeKind(StrEnum):
    """Where notices come from."""

    NODE = "node"
    """Taints of the Kubernetes node, by whoever takes nodes away."""
    AWS = "aws"
    """The metadata service of an EC2 instance: interruptions of spot instances."""
    GCP = "gcp"
    """The metadata server of a Compute Engine VM: preemptions."""
    AZURE = "azure"
    """The scheduled events of an Azure VM: evictions of spot VMs, and deletions."""


@dataclass(frozen=True, slots=True)
class ReclaimNotice:
    """The machine will be taken back."""

    kind: NoticeKind
    reason: str
    """What the notice says, in its own words."""
    seconds: float | None
    """Until it is taken back, counted from when the notice was read; None if that is not known."""


class NoticeUnavailable(Exception):
    """It cannot be said whether there is a notice."""


class NoticeSource(Protocol):
    """Something that can be asked whether the machine will be taken back."""

    @property
    def kind(self) -> NoticeKind:
        """What it asks."""
        ...

    @property
    def poll_seconds(self) -> float:
        """Between two looks."""
        ...

    @abstractmethod
    async def look(self) -> ReclaimNotice | None:
        """The notice that there is now, or None. Raises `NoticeUnavailable`, with the remedy where one is known."""
        ...

    @abstractmethod
    async def close(self) -> None:
        """End its connections."""
        ...
