"""The emulator of SQS is installed apart: it names one release of botocore."""

import tomllib
from pathlib import Path

import pytest

from backburner.local.programs import emulator
from backburner_schemas.errors import SettingsError

EXTRAS = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_stack_without_it_holds_no_boto3_back():
    assert not [one for one in EXTRAS["local"] if one.startswith("ministack")]
    assert [one for one in EXTRAS["local-sqs"] if one.startswith("ministack==")]


def test_a_missing_emulator_is_told_with_its_extra_and_what_comes_with_it(monkeypatch):
    monkeypatch.setattr(emulator.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"backburner\[local-sqs\].*botocore"):
        emulator.check_emulator()
