"""The programs under examples/, each run as the README says, and the demo's prompts. Not OpenAI's client."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.cli.commands.stack import ensure_pool
from backburner_schemas.request import Endpoint, parse_request
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_parameters

EXAMPLES = Path(__file__).parents[2] / "examples"
BOUND = 60


def run(program, *arguments):
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
async def fresh(stack, monkeypatch):
    """A stack as `backburner up` leaves it: one pool, nothing in it yet, and its settings in the environment."""
    settings = {
        "BACKBURNER_STORE_URL": "s3://backburner/examples",
        "BACKBURNER_PREFIX": "examples",
        "BACKBURNER_POOL": "fake",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    await ensure_pool({**stack.env, **settings}, "fake")
    worker = stack.worker("fake", **settings)
    await stack.warm(worker)
    yield
    worker.stop()


@pytest.mark.broker
@pytest.mark.store
def test_the_three_programs_do_what_the_readme_says(fresh):
    answers = run("sdk.py")
    assert answers[0].startswith("one request: ")
    assert len(answers[0]) > len("one request: ")
    assert {line.partition(":")[0] for line in answers[1:4]} == {"question-0", "question-1", "question-2"}
    assert answers[4].endswith(" completed: 3 of 3")
    assert run("sdk.py", "fake")[4].endswith(" completed: 3 of 3")

    sent = run("raw_kafka.py", "fake")
    assert [line.partition(" ")[0] for line in sent] == ["raw-0", "raw-1", "raw-2"]

    found = run("poll_s3.py", "stream-", "3")
    assert sorted(line.partition(" ")[0] for line in found[:-1]) == ["raw-0", "raw-1", "raw-2"]
    assert found[-1] == "3 of 3 records"


def test_the_programs_that_need_no_sdk_import_nothing_of_it():
    for program in ("raw_kafka.py", "poll_s3.py", "openai_batch.py"):
        assert "import backburner" not in (EXAMPLES / program).read_text()
        assert "from backburner" not in (EXAMPLES / program).read_text()


def test_the_demos_prompts_are_64_requests_that_a_worker_would_run():
    requests = [parse_request(line) for line in (EXAMPLES / "prompts.jsonl").read_bytes().splitlines()]
    assert len(requests) == 64
    assert len({request.custom_id for request in requests}) == 64
    assert {request.model for request in requests} == {"smollm2-135m-instruct"}
    for request in requests:
        assert request.url is Endpoint.CHAT
        check_parameters(request.url, request.body, limits=BodyLimits())
