"""Names of settings: one list for all parts, and a typing error is found."""

import pytest

from backburner import Client
from backburner.dispatcher.settings import DispatcherSettings
from backburner.gateway.settings import GatewaySettings
from backburner.settings import Settings
from backburner_schemas.errors import SettingsError
from backburner_schemas.setting_names import PREFIX, RENAMED_SETTINGS, SETTING_NAMES, check_environment
from backburner_worker.settings import WorkerSettings


def test_the_list_holds_exactly_the_settings_of_every_part():
    declared = {
        PREFIX + name.upper()
        for kind in (Settings, GatewaySettings, DispatcherSettings, WorkerSettings)
        for name in kind.model_fields
    }
    assert declared == SETTING_NAMES


def test_every_part_accepts_the_names_of_the_others():
    check_environment(SETTING_NAMES)


@pytest.mark.parametrize("name", ["PATH", "AWS_REGION", "BACKBURN", "BACKBURNER", "backburner_x"])
def test_foreign_names_are_nobodys_business(name):
    check_environment([name])


@pytest.mark.parametrize(
    "name",
    [
        "BACKBURNER_TEST_UPDATE_GOLDEN",
        # what Kubernetes sets for services named backburner and backburner-gateway
        "BACKBURNER_SERVICE_HOST",
        "BACKBURNER_SERVICE_PORT",
        "BACKBURNER_PORT",
        "BACKBURNER_GATEWAY_SERVICE_HOST",
        "BACKBURNER_GATEWAY_SERVICE_PORT",
        "BACKBURNER_GATEWAY_SERVICE_PORT_HTTP",
        "BACKBURNER_GATEWAY_PORT",
        "BACKBURNER_GATEWAY_PORT_80_TCP",
        "BACKBURNER_GATEWAY_PORT_80_TCP_PROTO",
        "BACKBURNER_GATEWAY_PORT_80_TCP_PORT",
        "BACKBURNER_GATEWAY_PORT_80_TCP_ADDR",
    ],
)
def test_test_switches_and_service_links_are_passed_over(name):
    check_environment([name])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BACKBURNER_QUEUE_ULR", "BACKBURNER_QUEUE_URL"),
        ("BACKBURNER_STORE", "BACKBURNER_STORE_URL"),
        ("BACKBURNER_DRAIN_SECOND", "BACKBURNER_DRAIN_SECONDS"),
        ("BACKBURNER_TENNANT", "BACKBURNER_TENANT"),
    ],
)
def test_a_typing_error_is_refused_with_the_nearest_name(name, near):
    with pytest.raises(SettingsError, match=f"{name} .*{near}"):
        check_environment(["PATH", name])


def test_a_name_that_resembles_none_points_to_the_reference():
    with pytest.raises(SettingsError, match=r"docs/settings\.md"):
        check_environment(["BACKBURNER_" + "Z" * 40])


RENAMED = [
    ("PARAMETERS_ALLOWED", "ALLOWED_PARAMETERS"),
    ("MEDIA_DOMAINS_ALLOWED", "ALLOWED_MEDIA_DOMAINS"),
    ("TENANTS_ALLOWED", "ALLOWED_TENANTS"),
    ("WINDOW", "PREFETCH"),
    ("WINDOW_BYTES", "PREFETCH_BYTES"),
    ("MARKER_SECONDS", "CANCEL_POLL_SECONDS"),
    ("GROUP", "WORKER_GROUP"),
]


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_a_variable_that_was_renamed_is_refused_with_its_new_name(monkeypatch, old, new):
    monkeypatch.setenv(PREFIX + old, "1")
    for kind in (Settings, GatewaySettings, DispatcherSettings, WorkerSettings):
        with pytest.raises(SettingsError) as caught:
            kind.load()
        assert str(caught.value) == f"BACKBURNER_{old} is now BACKBURNER_{new}; rename it"


@pytest.mark.parametrize("name", ["backburner_window", "Backburner_Window"])
def test_a_variable_is_looked_at_whatever_its_case_since_it_is_read_so(name):
    with pytest.raises(SettingsError, match=f"{name} is now BACKBURNER_PREFETCH; rename it"):
        check_environment([name])
    check_environment(["backburner_prefetch"])


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_an_argument_that_was_renamed_is_refused_with_its_new_name(old, new):
    for load in (WorkerSettings.load, Client):
        with pytest.raises(SettingsError) as caught:
            load(**{old.lower(): "1"})
        assert str(caught.value) == f"{old.lower()} is now {new.lower()}; rename it"


def test_what_was_renamed_leads_to_a_setting_and_is_none_itself():
    assert {PREFIX + new for new in RENAMED_SETTINGS.values()} <= SETTING_NAMES
    assert not {PREFIX + old for old in RENAMED_SETTINGS} & SETTING_NAMES
