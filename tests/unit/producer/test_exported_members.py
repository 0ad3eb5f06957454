"""The public API is what `__all__` says, and no more: a change of it is a decision, not an accident."""

import ast
import importlib.metadata
import pickle
from pathlib import Path

import backburner
from backburner.inputs.findings import Findings
from backburner.publishers.base import PublishFailed
from backburner_schemas import errors
from backburner_schemas.envelope import Address
from backburner_schemas.result import error_record


def test_the_public_names_are_frozen():
    assert backburner.__all__ == [
        "BackburnerError",
        "BatchRequest",
        "BatchStatus",
        "Cancelled",
        "Client",
        "ClientClosed",
        "ClientError",
        "Counts",
        "DeadLetter",
        "Endpoint",
        "EngineError",
        "Expired",
        "Handle",
        "InvalidInput",
        "Job",
        "JobConflict",
        "JobError",
        "JobForecast",
        "JobNotFound",
        "JobState",
        "JoinedResult",
        "Lane",
        "LetterNotFound",
        "LetterNotSent",
        "PoolConflict",
        "PoolError",
        "PoolNotFound",
        "PoolStatus",
        "ProducerAbandoned",
        "PublishFailed",
        "QueueError",
        "Reconciliation",
        "RedriveResult",
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
        "StoreFull",
        "StreamStatus",
        "SubmitProgress",
        "SyncClient",
        "SyncHandle",
        "SyncJob",
    ]


def test_every_public_name_is_there():
    for name in backburner.__all__:
        assert getattr(backburner, name).__name__ == name
    assert set(backburner.__all__) <= set(dir(backburner))


def test_type_checkers_see_the_same_names_from_the_same_modules():
    """They cannot follow the lazy lookup, so they read imports that never run."""
    tree = ast.parse(Path(backburner.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == backburner._HOMES
    assert all(alias.asname == alias.name for node in imports for alias in node.names)


def test_every_public_name_says_what_it_is():
    for name in backburner.__all__:
        assert getattr(backburner, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(backburner, "Nope")


def test_errors_that_carry_more_are_still_those_of_the_tree():
    assert issubclass(backburner.InvalidInput, errors.InvalidInput)
    assert issubclass(backburner.RequestFailed, errors.RequestFailed)


def test_errors_that_carry_more_survive_a_process_pool():
    findings = Findings()
    findings.add(backburner.SkippedLine(3, "a", "invalid_json", "no JSON"))
    record = error_record(Address("default", "single-x", 0, "a"), errors.EngineError())
    for error, carried in (
        (backburner.InvalidInput.of(findings), "findings"),
        (backburner.RequestFailed(record), "record"),
        (PublishFailed([1, 2], "no answer", [2]), "failed"),
        (errors.RateLimited(retry_after=3.0), "retry_after"),
    ):
        found = pickle.loads(pickle.dumps(error))
        assert str(found) == str(error)
        assert list_or_self(getattr(found, carried)) == list_or_self(getattr(error, carried))


def list_or_self(value):
    return list(value) if isinstance(value, Findings) else value


def test_the_release_is_there():
    assert backburner.__version__ == importlib.metadata.version("backburner")
    assert "__version__" in dir(backburner)
