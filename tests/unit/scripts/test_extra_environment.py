"""An environment for tools of their own: made once, and again where what it was made from has changed."""

import sys

import extra_environment
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

    monkeypatch.setattr(extra_environment, "run", run)
    return ran


@pytest.fixture
def requirements(tmp_path):
    file = tmp_path / "openai.txt"
    file.write_text("openai>=3\n")
    return file


def test_it_is_made_once_and_again_for_other_requirements(commands, requirements, tmp_path):
    folder = tmp_path / "openai"
    assert extra_environment.ensure(folder, requirements) == folder / "bin" / "python"
    venv, install = commands
    assert venv[:3] == (sys.executable, "-m", "venv")
    assert install[-2:] == ("-r", str(requirements))
    extra_environment.ensure(folder, requirements)
    assert len(commands) == 2
    requirements.write_text("openai>=4\n")
    extra_environment.ensure(folder, requirements)
    assert len(commands) == 4


def test_one_that_was_broken_off_is_made_again(commands, requirements, tmp_path):
    folder = tmp_path / "openai"
    extra_environment.ensure(folder, requirements)
    # As a kill leaves it between the first command and the end of the second.
    (folder / ".stamp").unlink()
    extra_environment.ensure(folder, requirements)
    assert len(commands) == 4


def test_a_failure_says_what_can_be_done_and_what_pip_said_last():
    with pytest.raises(extra_environment.InstallationFailed, match=r"the network reaches.*\nno such index"):
        extra_environment.run(sys.executable, "-c", "import sys; sys.exit('no such index')")
