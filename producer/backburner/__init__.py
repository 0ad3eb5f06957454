"""Backburner: LLM inference that nobody is waiting for. This is the whole public API; everything else may change.

from backburner import Client

async with Client() as client:
    handle = await client.enqueue("What is the capital of France?", temperature=0)
    print((await handle.result(timeout=600)).text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    """The release that is installed."""

    from backburner.blocking.client import SyncClient as SyncClient
    from backburner.blocking.job import SyncHandle as SyncHandle
    from backburner.blocking.job import SyncJob as SyncJob
    from backburner.client import Client as Client
    from backburner.dead_letters.letter import DeadLetter as DeadLetter
    from backburner.dead_letters.redrive import RedrivenJob as RedrivenJob
    from backburner.dead_letters.redrive import RedriveResult as RedriveResult
    from backburner.dead_letters.request_line import LetterNotSent as LetterNotSent
    from backburner.handle import Handle as Handle
    from backburner.handle import RequestFailed as RequestFailed
    from backburner.inputs.findings import InvalidInput as InvalidInput
    from backburner.inputs.findings import SkippedLine as SkippedLine
    from backburner.job import Job as Job
    from backburner.jobs.join import JoinedResult as JoinedResult
    from backburner.jobs.reconcile import Reconciliation as Reconciliation
    from backburner.jobs.streams import StreamStatus as StreamStatus
    from backburner.pools import PoolStatus as PoolStatus
    from backburner.publishers.base import PublishFailed as PublishFailed
    from backburner.settings import Settings as Settings
    from backburner.submission.forecast import JobForecast as JobForecast
    from backburner.submission.submission import SubmitProgress as SubmitProgress
    from backburner_schemas.errors import BackburnerError as BackburnerError
    from backburner_schemas.errors import Cancelled as Cancelled
    from backburner_schemas.errors import ClientClosed as ClientClosed
    from backburner_schemas.errors import ClientError as ClientError
    from backburner_schemas.errors import EngineError as EngineError
    from backburner_schemas.errors import Expired as Expired
    from backburner_schemas.errors import JobConflict as JobConflict
    from backburner_schemas.errors import JobError as JobError
    from backburner_schemas.errors import JobNotFound as JobNotFound
    from backburner_schemas.errors import LetterNotFound as LetterNotFound
    from backburner_schemas.errors import PoolConflict as PoolConflict
    from backburner_schemas.errors import PoolError as PoolError
    from backburner_schemas.errors import PoolNotFound as PoolNotFound
    from backburner_schemas.errors import ProducerAbandoned as ProducerAbandoned
    from backburner_schemas.errors import QueueError as QueueError
    from backburner_schemas.errors import RequestRefused as RequestRefused
    from backburner_schemas.errors import ResultTimeout as ResultTimeout
    from backburner_schemas.errors import SettingsError as SettingsError
    from backburner_schemas.errors import StoreDenied as StoreDenied
    from backburner_schemas.errors import StoreError as StoreError
    from backburner_schemas.errors import StoreFull as StoreFull
    from backburner_schemas.job import Counts as Counts
    from backburner_schemas.job import JobState as JobState
    from backburner_schemas.names import Lane as Lane
    from backburner_schemas.request import BatchRequest as BatchRequest
    from backburner_schemas.request import Endpoint as Endpoint
    from backburner_schemas.result import ResultRecord as ResultRecord
    from backburner_schemas.status import BatchStatus as BatchStatus

# The public names, each with the module that it comes from. They are loaded at first use: importing the package takes
# no time, and a producer pays for nothing that it does not use. The imports above declare the same to type checkers.
_HOMES = {
    "BackburnerError": "backburner_schemas.errors",
    "BatchRequest": "backburner_schemas.request",
    "BatchStatus": "backburner_schemas.status",
    "Cancelled": "backburner_schemas.errors",
    "Client": "backburner.client",
    "ClientClosed": "backburner_schemas.errors",
    "ClientError": "backburner_schemas.errors",
    "Counts": "backburner_schemas.job",
    "DeadLetter": "backburner.dead_letters.letter",
    "Endpoint": "backburner_schemas.request",
    "EngineError": "backburner_schemas.errors",
    "Expired": "backburner_schemas.errors",
    "Handle": "backburner.handle",
    "InvalidInput": "backburner.inputs.findings",
    "Job": "backburner.job",
    "JobConflict": "backburner_schemas.errors",
    "JobError": "backburner_schemas.errors",
    "JobForecast": "backburner.submission.forecast",
    "JobNotFound": "backburner_schemas.errors",
    "JobState": "backburner_schemas.job",
    "JoinedResult": "backburner.jobs.join",
    "Lane": "backburner_schemas.names",
    "LetterNotFound": "backburner_schemas.errors",
    "LetterNotSent": "backburner.dead_letters.request_line",
    "PoolConflict": "backburner_schemas.errors",
    "PoolError": "backburner_schemas.errors",
    "PoolNotFound": "backburner_schemas.errors",
    "PoolStatus": "backburner.pools",
    "ProducerAbandoned": "backburner_schemas.errors",
    "PublishFailed": "backburner.publishers.base",
    "QueueError": "backburner_schemas.errors",
    "Reconciliation": "backburner.jobs.reconcile",
    "RedriveResult": "backburner.dead_letters.redrive",
    "RedrivenJob": "backburner.dead_letters.redrive",
    "RequestFailed": "backburner.handle",
    "RequestRefused": "backburner_schemas.errors",
    "ResultRecord": "backburner_schemas.result",
    "ResultTimeout": "backburner_schemas.errors",
    "Settings": "backburner.settings",
    "SettingsError": "backburner_schemas.errors",
    "SkippedLine": "backburner.inputs.findings",
    "StoreDenied": "backburner_schemas.errors",
    "StoreError": "backburner_schemas.errors",
    "StoreFull": "backburner_schemas.errors",
    "StreamStatus": "backburner.jobs.streams",
    "SubmitProgress": "backburner.submission.submission",
    "SyncClient": "backburner.blocking.client",
    "SyncHandle": "backburner.blocking.job",
    "SyncJob": "backburner.blocking.job",
}

if not TYPE_CHECKING:
    # Type checkers read no computed list; they use the imports above for `import *`.
    __all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def _version() -> str:
    from importlib.metadata import version

    return version("backburner")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
