"""The environment of the stock `openai` package: made once, and again where what it was made from has changed."""

import sys

import openai_environment
import pytest


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """The commands that would be run; the first makes the Python that is looked for."""
    ran = []

    def run(*command):
        ran.append(command)
        python = tmp_path / "openai" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(openai_environment, "_run", run)
    requirements = tmp_path / "openai.txt"
    requirements.write_text("openai>=3\n")
    monkeypatch.setattr(openai_environment, "REQUIREMENTS", requirements)
    return ran


def test_it_is_made_once_and_again_for_other_requirements(commands, tmp_path):
    folder = tmp_path / "openai"
    assert openai_environment.ensure(folder) == folder / "bin" / "python"
    venv, install = commands
    assert venv[:3] == (sys.executable, "-m", "venv")
    assert install[-2:] == ("-r", str(tmp_path / "openai.txt"))
    openai_environment.ensure(folder)
    assert len(commands) == 2
    (tmp_path / "openai.txt").write_text("openai>=4\n")
    openai_environment.ensure(folder)
    assert len(commands) == 4


def test_one_that_was_broken_off_is_made_again(commands, tmp_path):
    folder = tmp_path / "openai"
    openai_environment.ensure(folder)
    # As a kill leaves it between the first command and the end of the second.
    (folder / ".stamp").unlink()
    openai_environment.ensure(folder)
    assert len(commands) == 4


def test_a_failure_says_what_can_be_done_and_what_pip_said_last():
    with pytest.raises(openai_environment.InstallationFailed, match=r"the network reaches.*\nno such index"):
        openai_environment._run(sys.executable, "-c", "import sys; sys.exit('no such index')")
