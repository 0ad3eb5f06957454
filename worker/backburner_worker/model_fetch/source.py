"""The port to where a model is kept."""

from abc import abstractmethod
from typing import Protocol

from backburner_worker.model_fetch.model_file import ModelFile


class ModelSource(Protocol):
    """A folder with a model's files, somewhere else. Nothing that it says of names and sizes is to be believed.

    Every method raises `ModelSourceUnavailable` for what may work when it is tried again, and `ModelSourceRefused` for
    what does not before somebody acts.
    """

    @abstractmethod
    async def files(self) -> list[ModelFile]:
        """What there is, in any order; at most one more than a model may have. What is read later is of this state."""
        ...

    @abstractmethod
    async def read(self, file: ModelFile, start: int, length: int) -> memoryview:
        """That many bytes of the file from `start` on, which it has by its size. May be called side by side."""
        ...

    @abstractmethod
    async def close(self) -> None:
        """End the connections."""
        ...
