"""A worker as the systemd unit starts it: its ExecStart, with the settings that lie beside it."""

import signal
import sys
from pathlib import Path

import pytest
from external_worker import EXTERNAL, INSTALLED, settings_of, unit_lines
from live import LiveWorker, lines
from waiting import until

from backburner.local.programs.child import clean_environment

OWN = {"BACKBURNER_SERVED_NAME": "bare", "BACKBURNER_HTTP_PORT": "0", "BACKBURNER_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
"""What this machine has otherwise, beside the addresses of its queue and its store."""


@pytest.fixture
def started(stack, tmp_path):
    """The unit's program on this machine's queue and store, with an engine that answers without a model."""
    (command,) = unit_lines("Service")["ExecStart"]
    program = Path(sys.executable).parent / command.removeprefix(INSTALLED)
    assert program.is_file(), f"{command} is no program of the package"
    told = {}
    for file in ("worker.env", "worker-0.env"):
        told |= settings_of(EXTERNAL / file)
    told |= dict(line.split("=", 1) for line in unit_lines("Service")["Environment"])
    told |= {"HOME": str(tmp_path), "BACKBURNER_COMPILE_CACHE_DIR": str(tmp_path / "compiled")}
    # Files of this machine's are not there, and its store speaks no TLS.
    told = {name: value for name, value in told.items() if not name.endswith("_CA_FILE")}
    env = clean_environment(**{**told, **stack.env, **OWN, "PYTHONPATH": ":".join(sys.path)})
    worker = LiveWorker("bare-metal", env, tmp_path / "worker.log", program)
    yield worker
    worker.stop()


async def test_the_unit_s_worker_answers_and_drains_at_sigterm(stack, client, started):
    await stack.make_pool("bare")
    await stack.warm(started)
    job = await client.submit(lines(40, model="bare"))
    assert (await job.wait()).request_counts.completed == 40
    records = [record async for record in job.results()]
    assert {record.backburner.group for record in records} == {"bare-metal"}
    assert {record.backburner.worker for record in records} == {"gpu-machine-1-worker-0"}
    started.send(signal.SIGTERM)
    await until(lambda: started.exit_status is not None, "the end of the worker")
    assert started.exit_status == 0
