"""Which requests share an answer: the same model, the same body, and nothing that is sampled afresh."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.request import Endpoint
from backburner_worker.engine.identity import adapter_identity, model_identity
from backburner_worker.generation.cache_key import is_repeatable, request_digest

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


@pytest.mark.parametrize("change", [{"temperature": 0}, {"temperature": 0.0}, {"temperature": 1, "seed": 0}])
def test_nothing_that_is_sampled_afresh_may_be_given_again(change: dict[str, Any]) -> None:
    assert is_repeatable(Endpoint.CHAT, {"messages": [], **change})


@pytest.mark.parametrize("change", [{}, {"temperature": 0.1}, {"seed": None}, {"temperature": None}])
def test_what_is_sampled_is_run_each_time(change: dict[str, Any]) -> None:
    assert not is_repeatable(Endpoint.CHAT, {"messages": [], **change})


def test_vectors_and_scores_are_never_sampled() -> None:
    assert is_repeatable(Endpoint.EMBEDDINGS, {"input": "x"})
    assert is_repeatable(Endpoint.SCORE, {"text_1": "x", "text_2": "y"})


def test_the_order_of_fields_and_the_spelling_of_a_number_change_nothing() -> None:
    other = {"temperature": 0.0, **{name: BODY[name] for name in ("messages", "model")}}
    assert request_digest("i", Endpoint.CHAT, other) == request_digest("i", Endpoint.CHAT, BODY)


@pytest.mark.parametrize(
    ("identity", "endpoint", "body"),
    [
        ("j", Endpoint.CHAT, BODY),
        ("i", Endpoint.COMPLETIONS, BODY),
        ("i", Endpoint.CHAT, {**BODY, "model": "adapter"}),
        ("i", Endpoint.CHAT, {**BODY, "max_tokens": 1}),
        ("i", Endpoint.CHAT, {**BODY, "messages": [{"role": "system", "content": "hi"}]}),
        ("i", Endpoint.CHAT, {**BODY, "temperature": False}),
    ],
)
def test_everything_else_does(identity: str, endpoint: Endpoint, body: dict[str, Any]) -> None:
    assert request_digest(identity, endpoint, body) != request_digest("i", Endpoint.CHAT, BODY)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_any_body_has_a_digest_that_its_order_does_not_change(body: dict[str, Any]) -> None:
    digest = request_digest("i", Endpoint.CHAT, body)
    assert len(digest) == 64
    assert request_digest("i", Endpoint.CHAT, dict(reversed(body.items()))) == digest


def test_a_model_is_another_one_when_its_files_engine_arguments_or_version_change(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"layers": 1}')
    given = {"model": str(folder), "served": ("m",), "version": "vllm-1", "engine_args": "", "revision": ""}
    first = model_identity(**given)  # type: ignore[arg-type]
    copied = tmp_path / "elsewhere"
    folder.rename(copied)
    found = {first, model_identity(**{**given, "model": str(copied)})}  # type: ignore[arg-type]
    assert len(found) == 1, "a copy of the model elsewhere is the same model"
    (copied / "config.json").write_text('{"layers": 2}')
    found.add(model_identity(**{**given, "model": str(copied)}))  # type: ignore[arg-type]
    for change in ({"version": "vllm-2"}, {"engine_args": "--dtype half"}, {"revision": "b"}, {"served": ("n",)}):
        found.add(model_identity(**{**given, "model": str(copied), **change}))  # type: ignore[arg-type]
    assert len(found) == 6


def test_an_adapter_is_another_one_when_its_base_or_any_byte_of_its_files_changes(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(b"a" * 3_000_000)
    first = adapter_identity("base", str(folder))
    assert adapter_identity("base", str(folder)) == first
    found = {"base", first, adapter_identity("other", str(folder))}
    weights.write_bytes(b"a" * 2_999_999 + b"b")
    found.add(adapter_identity("base", str(folder)))
    found.add(adapter_identity("base", "/not/there"))
    assert len(found) == 5


def test_a_model_without_a_name_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"model": "", "served": ("fake",), "version": "1", "engine_args": "", "revision": ""}
    first = model_identity(**given)
    (tmp_path / "file").write_text("there")
    assert model_identity(**given) == first
