"""A model's served name, told before it is loaded as the engine tells it afterwards."""

from pathlib import Path

import pytest

from backburner_worker.engine.served import expected_name


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        ("", None, "Model-7B"),
        ("", "given", "given"),
        ("--served-model-name first second", "given", "first"),
        ("--max-num-seqs 8 --served-model-name=one --enforce-eager", None, "one"),
        ("--served_model_name 'with space'", None, "with space"),
        ("--served-model-name-more x", None, "Model-7B"),
        ("--served-model-name", None, None),
        ("'unclosed", None, None),
    ],
)
def test_the_name_is_the_arguments_then_the_settings_then_the_folders(
    arguments: str, given: str | None, expected: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "Model-7B"
    folder.mkdir()
    assert expected_name("vllm", model=str(folder), given=given, engine_args=arguments) == expected


def test_a_name_is_a_name_and_the_fakes_is_fake() -> None:
    assert expected_name("vllm", model="Qwen/Qwen3-8B", given=None, engine_args="") == "Qwen/Qwen3-8B"
    assert expected_name("fake", model="", given=None, engine_args="--served-model-name x") == "fake"


def test_of_servers_elsewhere_the_name_is_known_if_it_is_set() -> None:
    assert expected_name("openai-http", model="at-the-server", given="ours", engine_args="") == "ours"
    assert expected_name("openai-http", model="at-the-server", given=None, engine_args="") == "at-the-server"
    assert expected_name("openai-http", model="", given=None, engine_args="") is None
