"""Whose share is how large: a file says it, and may say something else while the dispatcher runs."""

import pytest
from prometheus_client import CollectorRegistry

from backburner.connections import Connections
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.parts import Parts
from backburner.dispatcher.settings import DispatcherSettings
from backburner_schemas.errors import SettingsError


def parts(**settings):
    made = DispatcherSettings.load(store_url="memory:///", queue_url="kafka://nowhere:1", **settings)
    return Parts(made, Connections(made), Metrics(CollectorRegistry()))


async def test_the_file_of_quotas_says_what_share_a_tenant_has(tmp_path):
    file = tmp_path / "quotas.toml"
    file.write_text("[tenants.acme]\nweight = 3\n")
    made = parts(quotas_file=str(file))
    weight = made.sender._scheduler._weight
    assert (weight("acme"), weight("other")) == (3.0, 1.0)
    file.write_text("[tenants.acme]\nweight = 12\n")
    made.quotas._looked_at = float("-inf")
    assert weight("acme") == 12.0


async def test_without_a_file_all_are_equal():
    weight = parts().sender._scheduler._weight
    assert weight("acme") == weight("other") == 1.0


async def test_a_file_that_cannot_be_used_is_found_before_anything_is_sent(tmp_path):
    with pytest.raises(SettingsError, match="BACKBURNER_QUOTAS_FILE"):
        _ = parts(quotas_file=str(tmp_path / "missing")).dispatcher
