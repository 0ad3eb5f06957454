"""Backburner: LLM inference that nobody is waiting for. This is the whole public API; everything else may change.

from backburner import Client

async with Client() as client:
    handle = await client.enqueue("What is the capital of France?", temperature=0)
    print((await handle.result(timeout=600)).text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backburner.client import Client as Client
    from backburner.findings import InvalidInput as InvalidInput
    from backburner.findings import SkippedLine as SkippedLine
    from backburner.handle import Handle as Handle
    from backburner.handle import RequestFailed as RequestFailed
    from backburner.job import Job as Job
    from backburner.joining import JoinedResult as JoinedResult
    from backburner.letters import DeadLetter as DeadLetter
    from backburner.pools import PoolStatus as PoolStatus
    from backburner.reconcile import Reconciliation as Reconciliation
    from backburner.redrive import Redriven as Redriven
    from backburner.redrive import RedrivenJob as RedrivenJob
    from backburner.resend import KeptLetter as KeptLetter
    from backburner.settings import Settings as Settings
    from backburner.submit import SubmitProgress as SubmitProgress
    from backburner.sync import SyncClient as SyncClient
    from backburner.sync_job import SyncHandle as SyncHandle
    from backburner.sync_job import SyncJob as SyncJob
    from backburner_schemas.errors import BackburnerError as BackburnerError
    from backburner_schemas.errors import Cancelled as Cancelled
    from backburner_schemas.errors import Expired as Expired
    from backburner_schemas.errors import JobConflict as JobConflict
    from backburner_schemas.errors import JobError as JobError
    from backburner_schemas.errors import JobNotFound as JobNotFound
    from backburner_schemas.errors import LetterNotFound as LetterNotFound
    from backburner_schemas.errors import PoolConflict as PoolConflict
    from backburner_schemas.errors import PoolError as PoolError
    from backburner_schemas.errors import PoolNotFound as PoolNotFound
    from backburner_schemas.errors import QueueError as QueueError
    from backburner_schemas.errors import RequestRefused as RequestRefused
    from backburner_schemas.errors import ResultTimeout as ResultTimeout
    from backburner_schemas.errors import SettingsError as SettingsError
    from backburner_schemas.errors import StoreDenied as StoreDenied
    from backburner_schemas.errors import StoreError as StoreError
    from backburner_schemas.job import Counts as Counts
    from backburner_schemas.job import JobState as JobState
    from backburner_schemas.names import Lane as Lane
    from backburner_schemas.request import BatchRequest as BatchRequest
    from backburner_schemas.request import Endpoint as Endpoint
    from backburner_schemas.result import ResultRecord as ResultRecord
    from backburner_schemas.status import BatchStatus as BatchStatus

# Loaded at first use: importing the package takes no time, and a producer pays for nothing that it does not touch.
_HOMES = {
    "BackburnerError": "backburner_schemas.errors",
    "BatchRequest": "backburner_schemas.request",
    "BatchStatus": "backburner_schemas.status",
    "Cancelled": "backburner_schemas.errors",
    "Client": "backburner.client",
    "Counts": "backburner_schemas.job",
    "DeadLetter": "backburner.letters",
    "Endpoint": "backburner_schemas.request",
    "Expired": "backburner_schemas.errors",
    "Handle": "backburner.handle",
    "InvalidInput": "backburner.findings",
    "Job": "backburner.job",
    "JobConflict": "backburner_schemas.errors",
    "JobError": "backburner_schemas.errors",
    "JobNotFound": "backburner_schemas.errors",
    "JobState": "backburner_schemas.job",
    "JoinedResult": "backburner.joining",
    "KeptLetter": "backburner.resend",
    "Lane": "backburner_schemas.names",
    "LetterNotFound": "backburner_schemas.errors",
    "PoolConflict": "backburner_schemas.errors",
    "PoolError": "backburner_schemas.errors",
    "PoolNotFound": "backburner_schemas.errors",
    "PoolStatus": "backburner.pools",
    "QueueError": "backburner_schemas.errors",
    "Reconciliation": "backburner.reconcile",
    "Redriven": "backburner.redrive",
    "RedrivenJob": "backburner.redrive",
    "RequestFailed": "backburner.handle",
    "RequestRefused": "backburner_schemas.errors",
    "ResultRecord": "backburner_schemas.result",
    "ResultTimeout": "backburner_schemas.errors",
    "Settings": "backburner.settings",
    "SettingsError": "backburner_schemas.errors",
    "SkippedLine": "backburner.findings",
    "StoreDenied": "backburner_schemas.errors",
    "StoreError": "backburner_schemas.errors",
    "SubmitProgress": "backburner.submit",
    "SyncClient": "backburner.sync",
    "SyncHandle": "backburner.sync_job",
    "SyncJob": "backburner.sync_job",
}

__all__ = [
    "BackburnerError",
    "BatchRequest",
    "BatchStatus",
    "Cancelled",
    "Client",
    "Counts",
    "DeadLetter",
    "Endpoint",
    "Expired",
    "Handle",
    "InvalidInput",
    "Job",
    "JobConflict",
    "JobError",
    "JobNotFound",
    "JobState",
    "JoinedResult",
    "KeptLetter",
    "Lane",
    "LetterNotFound",
    "PoolConflict",
    "PoolError",
    "PoolNotFound",
    "PoolStatus",
    "QueueError",
    "Reconciliation",
    "Redriven",
    "RedrivenJob",
    "RequestFailed",
    "RequestRefused",
    "ResultRecord",
    "ResultTimeout",
    "Settings",
    "SettingsError",
    "SkippedLine",
    "StoreDenied",
    "StoreError",
    "SubmitProgress",
    "SyncClient",
    "SyncHandle",
    "SyncJob",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
