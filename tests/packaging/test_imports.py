"""What importing the packages brings in: the SDK stays light, whatever else is installed."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "vllm", "transformers", "aiokafka", "boto3", "botocore", "fastapi", "uvicorn", "numpy"}


def imported_by(statement, python=sys.executable):
    """The top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import backburner; backburner.Client, backburner.SyncClient",
        "import backburner.cli",
        "import backburner_worker.settings",
        "import backburner_schemas.codec",
    ],
)
def test_importing_brings_in_nothing_heavy(statement):
    assert not imported_by(statement) & HEAVY


def test_schemas_import_neither_of_the_others():
    assert not imported_by("import backburner_schemas.status, backburner_schemas.codec") & {
        "backburner",
        "backburner_worker",
        "obstore",
    }


def test_the_sdk_does_not_import_the_worker():
    assert "backburner_worker" not in imported_by("import backburner.cli, backburner.client")
