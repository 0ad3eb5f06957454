"""`backburner up` and `down` on real servers: store and broker from their packages, our own parts stand-ins."""

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from backburner.local.control import env_file
from backburner.local.programs import broker, probe, store

pytestmark = [
    pytest.mark.broker,
    pytest.mark.store,
    pytest.mark.skipif(sys.platform != "linux", reason="waits for processes by pidfd"),
]

PROGRAM = Path(__file__).parent / "programs" / "local_up.py"
BOUND = 90


class Folder:
    """A working folder with the stand-in for the command line."""

    def __init__(self, path):
        self.path = path
        self.notes = path / "notes"
        self.notes.mkdir()
        self.state = path / ".backburner"

    def environment(self, **extra):
        return {**os.environ, "LOCAL_WORKER_NOTES": str(self.notes), **extra}

    def run(self, *arguments, **extra):
        return subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            cwd=self.path,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )

    def foreground(self, *arguments, **extra):
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), "up", *arguments],
            cwd=self.path,
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def workers(self):
        return [json.loads(note.read_text()) for note in sorted(self.notes.glob("*.json"))]

    @property
    def supervisor(self):
        return int(json.loads((self.state / "stack.json").read_text())["pid"])


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    made.run("down")


def read_until(process, text):
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} was never said: {''.join(seen)}")


def family(pid):
    """The process and all below it, as pidfds: they stay valid whatever the numbers are used for later."""
    pids = [pid]
    for parent in pids:
        pids += [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return {one: os.pidfd_open(one) for one in pids}


def assert_all_end(pidfds):
    deadline = time.monotonic() + BOUND
    for pid, pidfd in pidfds.items():
        ended, _, _ = select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
        assert ended, f"process {pid} is still alive"
        os.close(pidfd)


def s3(env, **other):
    given = {
        "aws_access_key_id": env["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
        **other,
    }
    return boto3.client("s3", endpoint_url=env["BACKBURNER_STORE_ENDPOINT"], region_name=env["AWS_REGION"], **given)


def port_of(url):
    return int(url.rpartition(":")[2])


def test_a_detached_stack_serves_until_down_and_leaves_nothing(folder):
    temporary = folder.path / "tmp"
    temporary.mkdir()
    extra = {"LOCAL_WORKER_CHILD": "1", "AWS_SESSION_TOKEN": "another account's", "TMPDIR": str(temporary)}
    up = folder.run("up", "--detach", "--workers", "2", **extra)
    assert up.returncode == 0, up.stdout
    assert "worker 2 is warm" in up.stdout

    env = env_file.read(folder.state / "env")
    assert probe.speaks_kafka(port_of(env["BACKBURNER_QUEUE_URL"]))
    s3(env).put_object(Bucket="backburner", Key="main/hello", Body=b"hello")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3(env, aws_secret_access_key="wrong").get_object(Bucket="backburner", Key="main/hello")

    workers = folder.workers()
    ports = [worker["env"]["BACKBURNER_HTTP_PORT"] for worker in workers]
    assert len(set(ports)) == 2
    for worker in workers:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker['env']['BACKBURNER_HTTP_PORT']}/readyz") as answer:
            assert answer.status == 200
        assert "AWS_SESSION_TOKEN" not in worker["env"]
        # What torch compiles is no temporary file: it is wanted again at the next start.
        assert not Path(worker["env"]["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(temporary)
        assert {key: worker["env"][key] for key in env if key != "BACKBURNER_HTTP_PORT"}.items() <= env.items()

    everything = family(folder.supervisor)
    assert {worker["child"] for worker in workers} <= everything.keys()
    down = folder.run("down")
    assert down.returncode == 0, down.stdout
    assert_all_end(everything)
    assert not (folder.state / "env").exists()
    assert not (folder.state / "stack.json").exists()
    # But for the locks of ports, which all stacks of a machine share, its programs leave no temporary files.
    assert {path.name.rpartition("-")[0] for path in temporary.iterdir()} == {"backburner-ports"}
    assert not (folder.state / "data" / "store-tmp").exists()
    # Workers drain into a broker and a store that are still there.
    left = [json.loads(note.read_text()) for note in folder.notes.glob("*.left")]
    assert left == [{"broker": True, "store": True}] * 2
    assert "nothing is running" in folder.run("down").stdout


def test_the_settings_file_is_private_and_a_shell_can_source_it(folder):
    assert folder.run("up", "--detach", "--workers", "0", "--data", "elsewhere").returncode == 0
    path = folder.state / "env"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (folder.state / ".gitignore").read_text() == "*\n"
    assert (folder.path / "elsewhere" / "store.json").exists()
    assert not (folder.state / "data").exists()
    shell = subprocess.run(
        ["sh", "-c", ". .backburner/env && env -0"], cwd=folder.path, capture_output=True, text=True, check=True
    )
    sourced = dict(entry.split("=", 1) for entry in shell.stdout.split("\0") if entry)
    env = env_file.read(path)
    assert env.items() <= sourced.items()
    assert env["BACKBURNER_STORE_URL"] == "s3://backburner/main"
    assert (env["BACKBURNER_ENGINE"], env["BACKBURNER_MODEL"], env["BACKBURNER_POOL"]) == ("fake", "fake", "fake")
    assert env["BACKBURNER_HTTP_PORT"] == "0"
    ensured = json.loads((folder.path / "ensured.json").read_text())
    assert ensured["model"] == "fake"
    assert env.items() <= ensured["env"].items()


def test_a_second_stack_in_the_folder_or_on_its_data_is_refused(folder, tmp_path):
    assert folder.run("up", "--detach", "--workers", "0").returncode == 0
    for arguments in (["up"], ["up", "--detach"]):
        second = folder.run(*arguments)
        assert second.returncode == 1
        assert f"already (pid {folder.supervisor})" in second.stdout
        assert "backburner down" in second.stdout
    (tmp_path / "other").mkdir()
    other = Folder(tmp_path / "other").run("up", "--detach", "--data", str(folder.state / "data"))
    assert other.returncode == 1
    assert "another stack uses the data folder" in other.stdout
    assert (folder.state / "env").exists()


def test_the_next_up_finds_the_data_ports_and_keys_of_the_last(folder):
    up = folder.run("up", "--detach", "--workers", "0", "--gateway", OPENAI_API_KEY="another service's")
    assert up.returncode == 0, up.stdout
    before = env_file.read(folder.state / "env")
    base_url, key = before["OPENAI_BASE_URL"], before["OPENAI_API_KEY"]
    assert f"base URL {base_url} and API key {key};" in up.stdout
    # That is a file which may be read by others.
    assert key not in (folder.state / "up.log").read_text()
    parts = folder.workers()
    assert len(parts) == 2
    for part in parts:
        assert f"http://127.0.0.1:{part['env']['BACKBURNER_GATEWAY_LISTEN_PORT']}/v1" == base_url
        assert part["env"]["BACKBURNER_GATEWAY_LISTEN_HOST"] == "127.0.0.1"
        assert not {"OPENAI_BASE_URL", "OPENAI_API_KEY"} & part["env"].keys()
    s3(before).put_object(Bucket="backburner", Key="main/kept", Body=b"kept")
    assert folder.run("down").returncode == 0
    assert folder.run("up", "--detach", "--workers", "0", "--gateway").returncode == 0
    after = env_file.read(folder.state / "env")
    assert after == before
    assert s3(after).get_object(Bucket="backburner", Key="main/kept")["Body"].read() == b"kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_stack_in_the_foreground(folder, number):
    with folder.foreground("--gateway") as process:
        read_until(process, "OpenAI's clients take base URL")
        everything = family(process.pid)
        process.send_signal(number)
        assert process.wait(BOUND) == 0
        assert_all_end(everything)
    assert not (folder.state / "env").exists()


def test_a_signal_while_a_worker_loads_stops_everything(folder):
    with folder.foreground(LOCAL_WORKER_HANGS="1") as process:
        read_until(process, "starting worker 1")
        everything = family(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 130
        assert_all_end(everything)


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_worker_that_never_comes_up_ends_the_stack_with_its_last_words(folder, detach):
    up = folder.run("up", *detach, LOCAL_WORKER_FAILS="the weights are damaged")
    assert up.returncode == 1
    assert "worker 1 ended with exit status 1, several times in a row" in up.stdout
    assert "  the weights are damaged" in up.stdout
    assert "worker-1.log" in up.stdout
    assert not (folder.state / "env").exists()
    assert "nothing is running" in folder.run("down").stdout


def test_a_worker_that_stays_cold_is_given_up_in_time(folder):
    up = folder.run("up", "--warm-seconds", "0.5", LOCAL_WORKER_HANGS="1")
    assert up.returncode == 1
    assert "worker 1 was not warm within" in up.stdout


def test_store_and_broker_can_be_used_alone(tmp_path):
    with store.start(tmp_path) as storage, broker.start(tmp_path, storage=storage) as durable:
        assert storage.endpoint.startswith("http://127.0.0.1:")
        assert durable.url == f"kafka://{durable.bootstrap}"
        assert probe.speaks_kafka(durable.port)
    assert not probe.speaks_kafka(durable.port)
    with broker.start(tmp_path / "memory", storage=None) as quick:
        assert probe.speaks_kafka(quick.port)
