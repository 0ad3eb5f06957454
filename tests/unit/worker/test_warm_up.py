"""Before a worker is ready: the requests that warm an engine up, and where what it compiles is kept."""

import asyncio
import os
from pathlib import Path

import pytest

from backburner_schemas.errors import SettingsError
from backburner_schemas.request import Endpoint
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.engine.vllm import environment as vllm_environment
from backburner_worker.engine.vllm.environment import environment, prepare_environment
from backburner_worker.engine.warm_up import warm_ups
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_parameters


async def test_a_warm_up_has_every_endpoint_and_adapter_and_could_be_a_users() -> None:
    requests = warm_ups(frozenset(Endpoint), "m", ("legal", "chat"))
    assert {request.endpoint for request in requests} == set(Endpoint)
    assert [request.body["model"] for request in requests].count("m") == len(requests) - 2
    assert {request.body["model"] for request in requests} == {"m", "legal", "chat"}
    assert len({request.id for request in requests}) == len(requests)
    for request in requests:
        check_parameters(request.endpoint, request.body, limits=BodyLimits())
    await asyncio.gather(*map(FakeEngine("m", adapters=["legal", "chat"]).run, requests))


def test_a_warm_up_of_a_chat_model_covers_sampling_and_logprobs() -> None:
    bodies = [request.body for request in warm_ups({Endpoint.CHAT}, "m")]
    assert any("top_p" in body for body in bodies)
    assert any(body.get("logprobs") for body in bodies)


@pytest.mark.parametrize(
    ("endpoints", "first"),
    [(set(Endpoint), Endpoint.COMPLETIONS), ({Endpoint.CHAT}, Endpoint.CHAT), ({Endpoint.SCORE}, Endpoint.SCORE)],
)
def test_what_has_to_be_answered_comes_first(endpoints: set[Endpoint], first: Endpoint) -> None:
    assert warm_ups(endpoints, "m")[0].endpoint is first


def test_what_is_compiled_is_kept_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", {"TRITON_CACHE_DIR": "/the/operators"})
    kept = tmp_path / "made" / "here"
    prepare_environment("m", str(kept))
    assert kept.is_dir()
    assert os.environ["VLLM_CACHE_ROOT"] == str(kept / "vllm")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(kept / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == "/the/operators"


def test_without_a_folder_everything_stays_at_its_own_place() -> None:
    assert not set(environment("m")) & set(vllm_environment._CACHES)


def test_a_folder_that_cannot_be_written_to_is_refused_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"BACKBURNER_COMPILE_CACHE_DIR: .* name another folder"):
        prepare_environment("m", str(tmp_path / "file"))
