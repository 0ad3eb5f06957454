"""A worker whose engine is servers elsewhere, on a real queue and store, while these are killed and come back."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from live import lines
from waiting import until

from backburner.local.programs.ports import PortLeases

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAM = Path(__file__).parents[1] / "support" / "openai_server.py"
TOTAL = 300


class Servers:
    """Servers with OpenAI's API, as processes on ports of their own."""

    def __init__(self, count):
        self._leases = PortLeases()
        self.ports = [self._leases.take() for _ in range(count)]
        self._processes = {}

    @property
    def urls(self):
        return ",".join(f"http://127.0.0.1:{port}" for port in self.ports)

    def start(self, number):
        port = str(self.ports[number])
        command = [sys.executable, str(PROGRAM), "--port", port, "--model", "elsewhere", "--latency", "0.2"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        # It says where it serves once it does.
        assert process.stdout.readline()
        self._processes[number] = process

    def kill(self, number):
        process = self._processes.pop(number)
        process.kill()
        process.wait()
        process.stdout.close()

    def close(self):
        for number in [*self._processes]:
            self.kill(number)
        self._leases.close()


@pytest.fixture
def servers():
    with contextlib.closing(Servers(2)) as running:
        yield running


async def test_servers_are_killed_and_come_back_and_every_request_is_answered_once(stack, client, servers):
    await stack.make_pool("elsewhere")
    settings = {"BACKBURNER_ENGINE": "openai-http", "BACKBURNER_ENGINE_URLS": servers.urls}
    worker = stack.worker("elsewhere", BACKBURNER_CONCURRENCY="8", BACKBURNER_RETRY_BASE_SECONDS="0.05", **settings)
    await until(lambda: worker.said("dependency unavailable"), "a word on what is waited for")
    assert worker.page("/readyz")[0] == 503
    for number in range(2):
        servers.start(number)
    await until(worker.is_warm, "a warm worker")
    job = await client.submit(lines(TOTAL, model="elsewhere"))

    def answered():
        return worker.metric("backburner_engine_seconds_count")

    await until(lambda: answered() > 20, "the first answers")
    servers.kill(0)
    seen = answered()
    await until(lambda: answered() > seen + 40, "answers of the server that is left")
    assert worker.page("/readyz")[0] == 200
    assert worker.metric('backburner_engine_servers{state="away"}') == 1

    servers.kill(1)
    await until(lambda: worker.page("/readyz")[0] == 503, "a worker that says that it is not ready")
    assert "engine: http://127.0.0.1" in worker.page("/readyz")[1]
    assert worker.metric('backburner_dependency_up{dependency="engine"}') == 0
    seen = answered()
    held = worker.metric('backburner_deliveries_in_flight{stage="engine"}')
    assert held <= 8

    servers.start(0)
    await until(lambda: answered() > seen + 20, "answers of the server that is back")
    servers.start(1)
    assert (await job.wait(timeout=120)).request_counts.completed == TOTAL
    records = [record async for record in job.results()]
    assert len({record.custom_id for record in records}) == len(records) == TOTAL
    # Nothing died here, so nobody was suspected, and nobody restarted anything.
    assert worker.exit_status is None
    assert max(record.backburner.attempt for record in records) <= 3
    assert {record.backburner.version for record in records} == {"vllm-0.0.1"}
