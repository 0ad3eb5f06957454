"""docs/gateway.md tells of every call that there is, and of no other."""

import re
from pathlib import Path

from backburner.gateway.api import routes
from backburner_schemas.setting_names import SETTING_NAMES

PAGE = (Path(__file__).parents[3] / "docs" / "gateway.md").read_text()


def test_every_call_is_told_and_every_call_told_of_exists():
    served = {
        f"{method.upper()} {path}"
        for path, found in routes().openapi()["paths"].items()
        for method in found
        if method != "parameters"
    }
    assert set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", PAGE, re.MULTILINE)) == served


def test_every_setting_that_is_told_of_exists():
    assert set(re.findall(r"BACKBURNER_[A-Z_]+[A-Z]", PAGE)) <= SETTING_NAMES
