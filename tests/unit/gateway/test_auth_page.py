"""docs/auth.md tells what there is: every field of a quota, every setting, in forms that work."""

import re
from pathlib import Path

import pytest

from backburner.gateway.auth.principal import Scope
from backburner.gateway.auth.settings import AuthSettings
from backburner.quotas import Quotas, Rate, TenantQuota
from backburner_schemas.setting_names import SETTING_NAMES

PAGE = (Path(__file__).parents[3] / "docs" / "auth.md").read_text()


def test_the_file_that_is_shown_can_be_used():
    (shown,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    acme = Quotas.parse(shown).of("acme")
    assert (acme.weight, acme.jobs, acme.requests) == (4.0, 200, Rate(6000, 60))
    # It shows every field, but for those that none of it needs.
    assert set(re.findall(r"^(\w+) =", shown, re.MULTILINE)) == TenantQuota.model_fields.keys() - {
        "each_caller",
        "callers",
    }


@pytest.mark.parametrize("field", TenantQuota.model_fields)
def test_every_field_of_a_quota_is_told(field):
    assert f"\n| `{field}` |" in PAGE


@pytest.mark.parametrize("scope", Scope)
def test_every_scope_is_told(scope):
    assert f"\n| `{scope.value}` |" in PAGE


def test_every_setting_of_callers_is_told_and_every_one_told_of_exists():
    told = set(re.findall(r"BACKBURNER_[A-Z_]+[A-Z]", PAGE))
    assert told <= SETTING_NAMES
    assert {f"BACKBURNER_{name.upper()}" for name in AuthSettings.model_fields} <= told
