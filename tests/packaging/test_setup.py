"""What set-up says on a machine that lacks something, before it downloads anything; scripts/setup.sh on stand-ins."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APT_LINE = "sudo apt install make python3 python3-venv libnuma1"

PYTHON = """#!/bin/sh
case "$2" in
    *version_info*) exit {unsupported} ;;
    *ensurepip*) exit {no_venv} ;;
    *libnuma*) exit {no_libnuma} ;;
esac
case "$1" in
    --version) echo "Python 3.99.1" ;;
    *) touch "$DOWNLOADED"; exit 9 ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs set-up in a checkout of its own, with a Python and a disk that lack what the test says."""
    checkout = tmp_path / "checkout"
    for name in ("scripts/setup.sh", "requirements/worker-cpu.lock", "pyproject.toml", "Makefile"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    downloaded = tmp_path / "downloaded"

    def run(*, unsupported=0, no_venv=0, no_libnuma=0, free_kb=50_000_000, python=""):
        stand_ins = {
            "python3": PYTHON.format(unsupported=unsupported, no_venv=no_venv, no_libnuma=no_libnuma),
            "df": f"#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
            f"echo '/dev/x 1 1 {free_kb} 1% /'\n",
        }
        for number in range(11, 15):
            stand_ins[f"python3.{number}"] = "#!/bin/sh\nexit 1\n"
        for name, text in stand_ins.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        env = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "DOWNLOADED": str(downloaded),
            "PYTHON": python,
        }
        ended = subprocess.run(
            [checkout / "scripts" / "setup.sh"], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        return ended.returncode, ended.stderr, downloaded.exists()

    return run


def test_a_machine_that_has_everything_goes_on_to_the_download(set_up):
    assert set_up()[2]


def test_a_missing_library_is_named_with_the_line_that_brings_it_before_the_download(set_up):
    code, said, downloaded = set_up(no_libnuma=1)
    assert (code, downloaded) == (1, False)
    assert "libnuma.so.1" in said
    assert APT_LINE in said
    assert "PYTHON=" not in said


def test_a_python_without_venv_is_named_as_that(set_up):
    code, said, downloaded = set_up(no_venv=1)
    assert (code, downloaded) == (1, False)
    assert "python3 is Python 3.99.1 without venv" in said
    assert APT_LINE in said


def test_a_python_that_is_too_old_or_too_new_is_told_with_its_version(set_up):
    code, said, downloaded = set_up(unsupported=1)
    assert (code, downloaded) == (1, False)
    assert "Python 3.11 to 3.14; python3 is Python 3.99.1" in said


def test_a_python_that_is_named_and_is_not_there_is_told(set_up):
    code, said, _ = set_up(python="/nowhere/python3")
    assert code == 1
    assert "there is no /nowhere/python3" in said


def test_a_full_disk_is_told_with_what_is_free_and_without_packages(set_up):
    code, said, downloaded = set_up(free_kb=300_000)
    assert (code, downloaded) == (1, False)
    assert "4 GB of room on the disk of" in said
    assert "292 MB are free" in said
    assert "sudo" not in said


def test_all_that_is_missing_is_told_at_once(set_up):
    _, said, _ = set_up(no_libnuma=1, free_kb=300_000)
    assert "libnuma.so.1" in said
    assert "GB of room" in said


def test_the_readme_names_the_same_packages():
    told = re.findall(r"sudo (?:apt|dnf) install [a-z0-9 -]+[a-z0-9]", (ROOT / "scripts" / "setup.sh").read_text())
    readme = re.findall(r"sudo (?:apt|dnf) install [a-z0-9 -]+[a-z0-9]", (ROOT / "README.md").read_text())
    assert told == readme
    assert APT_LINE in told


def test_what_has_wheels_for_x86_alone_is_left_out_elsewhere(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    sys.modules.pop("check_lock", None)
    import check_lock

    lines = (ROOT / "requirements" / "worker-cpu.lock").read_text().splitlines()
    arm, intel = (check_lock.applicable(lines, check_lock.Target(machine, "3.11")) for machine in ("aarch64", "x86_64"))
    assert {line.partition("==")[0] for line in set(intel) - set(arm)} == {"intel-cmplr-lib-ur", "intel-openmp"}
    assert len(intel) == len([line for line in lines if line.strip()])
