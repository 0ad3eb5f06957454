"""The operator for Airflow: its steps with a stand-in for Airflow's classes, and, with FULL=1, Airflow itself."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import extra_environment
import pytest
from live import lines

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "airflow_dag.py"
REQUIREMENTS = ROOT / "requirements" / "airflow.txt"
RUN_SECONDS = 300


class Failed(Exception):
    """What Airflow's exception is."""


class Deferred(Exception):
    """What `defer` ends a task with."""


class StandIn:
    """As much of Airflow's operators, triggers and DAGs as is needed to make them."""

    def __init__(self, **options):
        self.log = SimpleNamespace(info=lambda *_: None)

    def defer(self, **how):
        raise Deferred(how)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __rshift__(self, other):
        return other


@pytest.fixture
def example(monkeypatch):
    """The example's module, with stand-ins for what it imports of Airflow."""
    parts = {
        "airflow": {},
        "airflow.exceptions": {"AirflowException": Failed},
        "airflow.sdk": {"DAG": StandIn, "BaseOperator": StandIn, "Context": dict},
        "airflow.triggers": {},
        "airflow.triggers.base": {"BaseTrigger": StandIn, "TriggerEvent": lambda payload: payload},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("airflow_dag", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(run_id="manual__1"):
    return {"ti": SimpleNamespace(dag_id="nightly", task_id="answers", run_id=run_id, map_index=-1)}


def write(folder, *texts):
    file = folder / "prompts.jsonl"
    made = [line for text in texts for line in lines(1, text, prefix=f"p{texts.index(text)}-")]
    file.write_text("".join(json.dumps(line) + "\n" for line in made))
    return str(file)


def deferred(operator, run):
    with pytest.raises(Deferred) as raised:
        operator.execute(run)
    (how,) = raised.value.args
    return how


async def fired(example, trigger):
    """What the trigger fires with, in a triggerer, which makes it anew from what was stored of it."""
    path, arguments = trigger.serialize()
    name = path.removeprefix("airflow_dag.")
    return [event async for event in getattr(example, name)(**arguments).run()]


def test_a_task_defers_and_comes_back_with_its_job_and_a_second_try_finds_the_same_job(stack, example, tmp_path):
    operator = example.BackburnerOperator(task_id="answers", source=write(tmp_path, "one", "two"))
    first, second = deferred(operator, context()), deferred(operator, context())
    (event,) = asyncio.run(fired(example, first["trigger"]))
    job_id = getattr(operator, first["method_name"])(context(), event)
    assert event == {"job": job_id, "state": "completed", "completed": 2, "failed": 0}
    assert second["trigger"].job_id == job_id
    # Also once the job has ended.
    assert deferred(operator, context())["trigger"].job_id == job_id
    assert example.CountAnswers(task_id="count", job_id=job_id).execute(context()) == 2
    assert deferred(operator, context("manual__2"))["trigger"].job_id != job_id


def test_a_task_fails_where_more_requests_failed_than_may(stack, example, tmp_path):
    source = write(tmp_path, "one", "[[fail]]")
    operator = example.BackburnerOperator(task_id="answers", source=source)
    how = deferred(operator, context("manual__3"))
    (event,) = asyncio.run(fired(example, how["trigger"]))
    with pytest.raises(Failed, match=r"1 requests of job airflow-.* failed, 0 may"):
        operator.ended(context(), event)
    example.BackburnerOperator(task_id="answers", source=source, max_failed=1).ended(context(), event)
    with pytest.raises(Failed, match="is expired"):
        operator.ended(context(), {**event, "state": "expired"})


@pytest.fixture(scope="module")
def airflow_python(missing_server):
    """The Python of an environment that holds Airflow."""
    if not os.environ.get("FULL"):
        pytest.skip("Airflow takes a minute to install and another to run: FULL=1 does it")
    try:
        return extra_environment.ensure(Path(sys.prefix) / "airflow", REQUIREMENTS)
    except extra_environment.InstallationFailed as error:
        missing_server(str(error))


@pytest.mark.timeout(2 * RUN_SECONDS)
def test_airflow_runs_the_dag_to_its_end(stack, airflow_python, tmp_path):
    dags = tmp_path / "dags"
    dags.mkdir()
    program = shutil.copy(EXAMPLE, dags)

    def run(*command, **more):
        packages = [ROOT / "schemas", ROOT / "producer", dags]
        env = {
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "PYTHONPATH": ":".join(map(str, packages)),
        }
        done = subprocess.run(
            [airflow_python, *command],
            env={**os.environ, **env, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

    status, said = run("-m", "airflow", "db", "migrate")
    assert status == 0, said[-3000:]
    status, said = run(program, PROMPTS=write(tmp_path, *(f"prompt {number}" for number in range(20))))
    assert status == 0, said[-3000:]
    assert "'completed': 20, 'failed': 0" in said
