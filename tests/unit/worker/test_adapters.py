"""LoRA adapters of a setting: what cannot be loaded is refused before the model loads, with a remedy."""

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import ModelNotFound, SettingsError
from backburner_schemas.request import Endpoint
from backburner_worker.engine.adapters import Adapter, check_names, parse_adapters, rank_of, vllm_arguments
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.options import EngineOptions, FakeOptions
from backburner_worker.settings import WorkerSettings

NAMES = st.text(st.characters(categories=["L", "N"]) | st.sampled_from("-_./:"), min_size=1, max_size=20)


@given(st.dictionaries(NAMES, NAMES, max_size=5), st.sampled_from([",", ", ", ",,"]))
def test_adapters_are_read_as_they_are_written(named: dict[str, str], between: str) -> None:
    text = between.join(f"{name}={folder}" for name, folder in named.items())
    assert parse_adapters(text) == tuple(Adapter(name, folder) for name, folder in named.items())


@pytest.mark.parametrize("text", ["legal", "=/m", "legal=", "a=/m,legal", "a\x00=/m"])
def test_what_is_no_name_and_folder_is_refused_by_its_variable(text: str) -> None:
    with pytest.raises(SettingsError, match=r"BACKBURNER_ADAPTERS: .* is not NAME=FOLDER"):
        WorkerSettings.load(adapters=text)


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"BACKBURNER_ADAPTERS: 'a' is named twice"):
        WorkerSettings.load(adapters="a=/1,a=/2")


def test_an_adapter_cannot_have_the_models_name() -> None:
    with pytest.raises(SettingsError, match=r"'m' is the base model's own name"):
        create_engine(EngineOptions(EngineKind.FAKE, "m", adapters=(Adapter("m", "/1"),)))
    with pytest.raises(SettingsError, match="the base model's own name"):
        check_names([Adapter("a", "/1"), Adapter("m", "/1")], "m")


def saved(folder: Path, **config: object) -> Adapter:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, **config}))
    (folder / "adapter_model.safetensors").touch()
    return Adapter("a", str(folder))


def without_a_folder(folder: Path) -> Adapter:
    return Adapter("a", str(folder))


def without_settings(folder: Path) -> Adapter:
    found = saved(folder)
    (folder / "adapter_config.json").unlink()
    return found


def with_broken_settings(folder: Path) -> Adapter:
    found = saved(folder)
    (folder / "adapter_config.json").write_text("{")
    return found


def without_weights(folder: Path) -> Adapter:
    found = saved(folder)
    (folder / "adapter_model.safetensors").unlink()
    return found


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (without_a_folder, "is not a folder; name the folder"),
        (without_settings, "has no adapter_config.json; name a folder that"),
        (with_broken_settings, "cannot be read"),
        (without_weights, "has no adapter_model.safetensors; copy the weights"),
        (lambda folder: saved(folder, r=513), "is 513; it must be from 1 to 512"),
        (lambda folder: saved(folder, r=True), "is True; it must be"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_a_remedy(make, said, tmp_path: Path) -> None:
    adapter = make(tmp_path / "a")
    with pytest.raises(SettingsError, match=r"BACKBURNER_ADAPTERS: the adapter 'a'") as caught:
        rank_of(adapter)
    assert said in caught.value.message


def vllms(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--enable-lora", action="store_true")
    for name in ("--max-lora-rank", "--max-loras", "--max-cpu-loras"):
        parser.add_argument(name, type=int)
    parser.add_argument("--lora-modules", nargs="*", type=json.loads)
    return parser.parse_args(arguments)


def test_vllm_is_told_of_each_adapter_and_of_room_for_all(tmp_path: Path) -> None:
    adapters = [saved(tmp_path / f"{number}", r=rank) for number, rank in enumerate((8, 33, 8, 8, 8))]
    found = vllms(vllm_arguments(adapters, ["--max-num-seqs", "8"]))
    assert found.enable_lora
    assert (found.max_lora_rank, found.max_loras, found.max_cpu_loras) == (64, 4, 5)
    assert found.lora_modules == [{"name": "a", "path": one.folder} for one in adapters]
    assert vllm_arguments((), []) == []


def test_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "near")
    monkeypatch.chdir(tmp_path)
    [module] = vllms(vllm_arguments([Adapter("a", "near")], [])).lora_modules
    assert module["path"] == str(tmp_path / "near")


@pytest.mark.parametrize("given", [["--lora-modules", "b=/m"], ["--lora_modules=b=/m"]])
def test_adapters_are_named_in_one_place(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="move all of them to BACKBURNER_ADAPTERS"):
        vllm_arguments([saved(tmp_path / "a")], given)


@pytest.mark.parametrize("process", [False, True])
async def test_the_fake_engine_serves_adapters_by_name_and_answers_them_differently(process: bool) -> None:
    adapters = Adapter("legal", "/none"), Adapter("chat", "/none")
    engine = create_engine(EngineOptions(EngineKind.FAKE, adapters=adapters, fake=FakeOptions(process=process)))
    try:
        assert (await engine.start()).adapters == ("legal", "chat")
        answers = [await engine.run(asked(model)) for model in ("fake", "legal", "chat", "legal")]
        assert [answer.body["model"] for answer in answers] == ["fake", "legal", "chat", "legal"]
        texts = [answer.body["choices"][0]["message"]["content"] for answer in answers]
        assert len(set(texts)) == 3
        assert texts[1] == texts[3]
        with pytest.raises(ModelNotFound, match="use chat, fake, legal"):
            await engine.run(asked("lega"))
    finally:
        await engine.close(0)


def asked(model: str) -> EngineRequest:
    return EngineRequest("r", Endpoint.CHAT, {"model": model, "messages": [{"role": "user", "content": "hello"}]})
