"""A worker without Kubernetes: the systemd unit, its settings, and the Slurm script."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import systemd
from external_worker import EXTERNAL, INSTALLED, UNIT, settings_of, unit_lines

from backburner_schemas.errors import UNUSABLE_STATUS
from backburner_schemas.setting_names import check_environment
from backburner_worker.settings import WorkerSettings

ENV_FILES = sorted(EXTERNAL.glob("*.env"))
SCRIPT = EXTERNAL / "backburner-worker.sbatch"
STORING_SECONDS = 30
MOST_EXPOSURE = 2.0
"""Of 10, by systemd's own count. Network, devices of GPUs and memory that is compiled into are what it is made of."""


# --- settings ---


@pytest.mark.parametrize("file", ENV_FILES, ids=lambda file: file.name)
def test_every_variable_is_a_setting_or_a_library_s_own(file):
    names = settings_of(file)
    check_environment(names)
    assert all(name.startswith(("BACKBURNER_", "AWS_", "CUDA_")) for name in names)


def test_a_worker_can_be_made_of_the_files_together(monkeypatch):
    for file in ENV_FILES:
        for name, value in settings_of(file).items():
            monkeypatch.setenv(name, value)
    assert WorkerSettings.load().drain_seconds == float(
        settings_of(EXTERNAL / "worker.env")["BACKBURNER_DRAIN_SECONDS"]
    )


def test_unit_and_script_leave_the_time_to_drain_and_half_a_minute_more():
    drain = int(settings_of(EXTERNAL / "worker.env")["BACKBURNER_DRAIN_SECONDS"])
    assert unit_lines("Service")["TimeoutStopSec"] == [str(drain + STORING_SECONDS)]
    assert f"--signal=B:USR1@{drain + STORING_SECONDS}\n" in SCRIPT.read_text()


# --- the unit ---


def test_a_worker_that_cannot_be_used_is_not_started_again():
    assert unit_lines("Service")["RestartPreventExitStatus"] == [str(UNUSABLE_STATUS)]


@pytest.fixture
def judged(tmp_path, missing_server):
    """Has systemd judge the unit, with a program where it expects one."""
    program = tmp_path / "backburner-worker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, f"{tmp_path}/"))

    def judge(*arguments):
        try:
            found = systemd.analyze(*arguments, str(unit))
        except systemd.SystemdMissing as error:
            missing_server(str(error))
        if "'/run/systemd/': Permission denied" in found.stderr:
            pytest.skip("systemd-analyze needs /run/systemd, which is there where systemd runs, and root can make")
        return found

    return judge


def test_systemd_finds_no_fault_in_the_unit(judged):
    found = judged("verify", "--man=no")
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_unit_is_as_exposed_as_an_engine_needs_and_no_more(judged):
    found = judged("security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}")
    score = re.search(r"Overall exposure level .*: ([0-9.]+)", found.stdout)
    assert score is not None, found.stdout + found.stderr
    assert float(score[1]) <= MOST_EXPOSURE
    assert found.returncode == 0


# --- the Slurm script ---


@pytest.fixture
def read_by_script(tmp_path):
    """What a worker finds in its environment, and what the script says, with that file of settings."""
    program = tmp_path / "worker"
    program.write_text("#!/bin/sh\nexec env -0\n")
    program.chmod(0o755)

    def read(file):
        env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "77", "WORKER_PROGRAM": str(program)}
        ran = subprocess.run(
            ["bash", str(SCRIPT)], env=env | {"WORKER_SETTINGS": str(file)}, capture_output=True, check=True
        )
        return dict(each.split("=", 1) for each in ran.stdout.decode().split("\0") if each), ran.stderr.decode()

    return read


def test_the_script_reads_the_same_as_systemd(read_by_script):
    file = EXTERNAL / "worker.env"
    found, said = read_by_script(file)
    assert (settings_of(file) | {"BACKBURNER_HTTP_PORT": "0"}).items() <= found.items()
    assert said == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3cr&t;id|x>y", "s3cr&t;id|x>y"),
        ("a$PATH${HOME}$(id)`id`", "a$PATH${HOME}$(id)`id`"),
        ('it\'s 5 "inches" # wide  ', 'it\'s 5 "inches" # wide'),
        ("'a \\ $b \"c\" '", 'a \\ $b "c" '),
        ('"a $b \\"c\\" \\d \\\\"', 'a $b "c" \\d \\'),
        ("a\\b\\\\c", "ab\\c"),
        ("x=y\r", "x=y"),
        ("", ""),
    ],
)
def test_a_value_arrives_as_systemd_reads_it_and_is_never_run(read_by_script, tmp_path, written, meant):
    file = tmp_path / "worker.env"
    file.write_text(f"# of all workers\n\n; of this one\n PASSWORD = {written}\nmy secret\nLAST=1", newline="")
    found, said = read_by_script(file)
    assert (found["PASSWORD"], found["LAST"]) == (meant, "1")
    assert said == f"{file}: line 5 is no NAME=value; it is passed over\n"


@pytest.fixture
def slurm(tmp_path):
    """Starts the script as Slurm does, with a worker that ends, start by start, with those statuses, and then runs."""
    started = []

    def start(*statuses, source="", fetch=()):
        worker = tmp_path / "worker"
        counter, fetched = tmp_path / "counter", tmp_path / "fetched"
        worker.write_text(
            f"""#!{sys.executable}
import os, signal, sys
from pathlib import Path

def drained(*_):
    os.write(1, b"drained\\n")
    sys.exit(0)

def next_of(statuses, counter):
    with Path(counter).open("a+") as file:
        file.seek(0)
        number = len(file.read())
        file.write("x")
    return statuses[number] if number < len(statuses) else None

signal.signal(signal.SIGTERM, drained)
print(*sys.argv[1:], "as", os.environ["BACKBURNER_WORKER_ID"], flush=True)
if "fetch-model" in sys.argv:
    sys.exit(next_of({fetch!r}, {str(fetched)!r}) or 0)
status = next_of({statuses!r}, {str(counter)!r})
if status is not None:
    sys.exit(status)
print("runs", flush=True)
signal.pause()
"""
        )
        scontrol = tmp_path / "scontrol"
        scontrol.write_text('#!/bin/sh\necho scontrol "$@"\n')
        for program in (worker, scontrol):
            program.chmod(0o755)
        settings = tmp_path / "worker.env"
        settings.write_text(f"BACKBURNER_MODEL_SOURCE={source}\n")
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "77",
            "WORKER_PROGRAM": str(worker),
            "WORKER_SETTINGS": str(settings),
            "WORKER_PAUSE_SECONDS": "0",
        }
        # Slurm runs a copy.
        copy = shutil.copy(SCRIPT, tmp_path / "slurm_script")
        process = subprocess.Popen(["bash", copy], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def until_it_runs(process):
    said = []
    while not said or said[-1] != "runs":
        line = process.stdout.readline()
        assert line, process.stderr.read()
        said.append(line.strip())
    return said


def test_before_the_time_limit_the_worker_drains_and_the_job_is_queued_again(slurm):
    process = slurm()
    assert until_it_runs(process) == ["as slurm-77", "runs"]
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)
    assert said.splitlines() == ["drained", "scontrol requeue 77"]
    assert process.returncode == 0


def test_a_job_that_is_cancelled_drains_and_ends(slurm):
    process = slurm()
    until_it_runs(process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert (said.splitlines(), process.returncode) == (["drained"], 0)


def test_the_model_is_fetched_first(slurm):
    process = slurm(source="s3://models/m")
    assert until_it_runs(process) == ["fetch-model as slurm-77", "as slurm-77", "runs"]


def test_a_fetch_that_fails_for_a_moment_is_tried_again(slurm):
    process = slurm(source="s3://models/m", fetch=(1,))
    assert until_it_runs(process) == ["fetch-model as slurm-77"] * 2 + ["as slurm-77", "runs"]


def test_a_model_that_can_never_be_fetched_ends_the_job(slurm):
    process = slurm(source="s3://models/m", fetch=(UNUSABLE_STATUS,))
    said, _ = process.communicate(timeout=30)
    assert (said.splitlines(), process.returncode) == (["fetch-model as slurm-77"], UNUSABLE_STATUS)


def test_a_worker_that_dies_is_started_again(slurm):
    process = slurm(1, 137)
    assert until_it_runs(process) == ["as slurm-77"] * 3 + ["runs"]


@pytest.mark.parametrize("status", [0, UNUSABLE_STATUS])
def test_a_worker_that_has_drained_or_cannot_be_used_ends_the_job(slurm, status):
    process = slurm(status)
    said, _ = process.communicate(timeout=30)
    assert (said.splitlines(), process.returncode) == (["as slurm-77"], status)
