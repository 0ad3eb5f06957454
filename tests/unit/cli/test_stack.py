"""`up` and `down`: what the command line hands to the embedded stack."""

import asyncio
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backburner import local
from backburner.cli.app import app
from backburner.cli.commands import stack
from backburner.client import Client
from backburner.gateway.auth.api_key import ApiKey, digest_of, new_secret
from backburner.gateway.auth.principal import Scope
from backburner_schemas import keys
from backburner_schemas.engine_kind import EngineKind

STACK = {
    "BACKBURNER_QUEUE_URL": "kafka://127.0.0.1:9",
    "BACKBURNER_STORE_URL": "memory:///",
    "AWS_ACCESS_KEY_ID": "stack",
}


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the stack; each call says something and ends with 7."""
    calls = []

    def record(name):
        def call(*args, say, **_callbacks):
            calls.append((name, *args))
            say(f"{name} speaks")
            return 7

        return call

    for name in ("run_up", "run_up_detached", "run_down"):
        monkeypatch.setattr(local, name, record(name))
    return calls


def test_up_hands_its_options_over_and_ends_as_the_stack_does(asked):
    args = ["--engine", "fake", "--workers", "0", "--data", "d", "--model", "m", "--engine-args=--a 1"]
    result = CliRunner().invoke(app, ["up", *args])
    assert (result.exit_code, result.stdout, result.stderr) == (7, "", "run_up speaks\n")
    ((name, options),) = asked
    assert name == "run_up"
    assert (options.engine, options.workers, options.data) == (EngineKind.FAKE, 0, Path("d"))
    assert (options.model, options.engine_args) == ("m", "--a 1")


def test_detached_is_another_way_up(asked):
    assert CliRunner().invoke(app, ["up", "--detach"]).exit_code == 7
    ((name, options),) = asked
    assert name == "run_up_detached"
    assert (options.engine, options.model, options.workers) == (EngineKind.VLLM, "auto", 1)


@pytest.mark.parametrize(("args", "port"), [(["--gateway"], None), (["--gateway-port", "8000"], 8000)])
def test_a_gateway_is_asked_for_by_its_name_or_its_port(asked, args, port):
    CliRunner().invoke(app, ["up", *args])
    assert (asked[0][1].gateway, asked[0][1].gateway_port) == (True, port)


def test_a_stack_has_no_gateway_unless_one_is_asked_for(asked):
    CliRunner().invoke(app, ["up"])
    assert (asked[0][1].gateway, asked[0][1].gateway_port) == (False, None)


def test_the_served_name_of_the_environment_is_the_stacks(asked, monkeypatch):
    monkeypatch.setenv("BACKBURNER_SERVED_NAME", "prod")
    CliRunner().invoke(app, ["up", "--engine", "fake"])
    assert asked[0][1].served_name == "prod"


def test_down_is_for_the_working_folder(asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["down"]).exit_code == 7
    assert asked == [("run_down", tmp_path)]


@pytest.mark.parametrize(("own", "partitions", "replicas"), [({}, 8, 1), ({"BACKBURNER_TOPIC_PARTITIONS": "3"}, 3, 1)])
def test_the_pool_is_made_with_the_settings_of_the_stack(monkeypatch, own, partitions, replicas):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.delenv("BACKBURNER_QUEUE_URL", raising=False)
    seen = []

    async def ensure_topics(settings, pool):
        seen.append((settings.queue_url, pool, settings.topic_partitions, settings.topic_replication))
        seen.append(os.environ["AWS_ACCESS_KEY_ID"])
        return []

    async def register_pool(_client, model):
        seen.append(model)

    monkeypatch.setattr("backburner.publishers.kafka.topics.ensure_topics", ensure_topics)
    monkeypatch.setattr(Client, "register_pool", register_pool)
    asyncio.run(stack.ensure_pool({**STACK, **own}, "Some-Model"))
    assert seen == [("kafka://127.0.0.1:9", "some-model", partitions, replicas), "stack", "Some-Model"]
    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"
    assert "BACKBURNER_QUEUE_URL" not in os.environ


async def test_the_key_of_the_last_up_is_kept_until_it_is_revoked(tmp_path):
    settings = {"BACKBURNER_QUEUE_URL": "kafka://127.0.0.1:9", "BACKBURNER_STORE_URL": f"file://{tmp_path}"}
    first = await stack.ensure_api_key({**settings, "BACKBURNER_TENANT": "acme"}, None)
    assert await stack.ensure_api_key(settings, first) == first
    stored = tmp_path / keys.api_key(digest_of(first))
    made = ApiKey.model_validate_json(stored.read_text())
    assert (made.tenant, made.scopes) == ("acme", (Scope.READ, Scope.WRITE))
    stored.write_text(made.model_copy(update={"revoked_at": 1.0}).model_dump_json())
    assert await stack.ensure_api_key(settings, first) != first
    # A data folder that was emptied has forgotten its keys.
    unknown = new_secret()
    assert await stack.ensure_api_key(settings, unknown) != unknown
