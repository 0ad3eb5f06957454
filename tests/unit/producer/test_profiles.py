"""Profiles: settings by name, which never mix two deployments."""

import pytest

from backburner import Client
from backburner.settings import Settings
from backburner.settings.profile import read_profiles
from backburner_schemas.errors import SettingsError

FILE = """
[profiles.production]
queue_url = "kafka://kafka.example:9092"
store_url = "s3://results/main"
tenant = "acme"
topic_partitions = 32
drain_seconds = 5

[profiles.laptop]
store_url = "file:///tmp/results"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "backburner"
    folder.mkdir()

    def write(text):
        file = folder / "config.toml"
        file.write_text(text)
        file.chmod(0o644)
        return file

    write(FILE)
    return write


def test_a_profile_has_the_settings_and_a_setting_of_another_part_is_passed_over(write):
    settings = Settings.load(profile="production")
    assert (settings.queue_url, settings.tenant) == ("kafka://kafka.example:9092", "acme")
    assert settings.topic_partitions == 32
    assert Client(profile="laptop").settings.store_url == "file:///tmp/results"


def test_a_profile_that_is_named_stands_in_the_place_of_the_environment(write, monkeypatch):
    monkeypatch.setenv("BACKBURNER_STORE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("BACKBURNER_TENANT", "other")
    settings = Settings.load(profile="production")
    assert (settings.store_endpoint, settings.tenant) == (None, "acme")


def test_a_profile_of_the_environment_stands_behind_it_and_arguments_come_first(write, monkeypatch):
    monkeypatch.setenv("BACKBURNER_PROFILE", "production")
    monkeypatch.setenv("BACKBURNER_TENANT", "other")
    settings = Settings.load(store_url="s3://elsewhere/x")
    assert (settings.queue_url, settings.tenant, settings.store_url) == (
        "kafka://kafka.example:9092",
        "other",
        "s3://elsewhere/x",
    )


def test_an_empty_variable_names_no_profile(write, monkeypatch):
    monkeypatch.setenv("BACKBURNER_PROFILE", "")
    assert Settings.load().queue_url == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profiles.x", "is no TOML"),
        ("queue_url = 'kafka://a:1'", r"outside of \[profiles.NAME\]"),
        ("[profiles]\nx = 3", "'x' is no profile"),
        ("[profiles.x]\nstore_ulr = ''", "did you mean store_url"),
        ("[profiles.x]\nBACKBURNER_QUEUE_URL = ''", "did you mean queue_url"),
        ("[profiles.x]\nprofile = 'y'", "which is no setting"),
        ("[profiles.x]\ntenant = ['a']", "tenant of the profile 'x' is no text"),
        ("[profiles.x]\ntopic_partitions = 0", "topic_partitions of the profile x in .* cannot be used"),
        ("[profiles.y]\ntenant = 'a'", "there is no profile 'x'; those are y"),
        ("", r"there are none in .*config.toml, and one is made there by a heading \[profiles.x\]"),
        ("#" * (1024 * 1024 + 1), "is over 1,048,576 bytes"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_the_place(write, text, message):
    write(text)
    with pytest.raises(SettingsError, match=message):
        Settings.load(profile="x")


@pytest.mark.parametrize("name", ["kafka_security_password", "kafka_security_client_secret"])
def test_a_secret_that_others_may_read_is_refused_and_never_shown(write, name):
    file = write(f"[profiles.x]\n{name} = 'hunter2'\n")
    with pytest.raises(SettingsError, match="chmod 600") as refused:
        Settings.load(profile="x")
    file.chmod(0o600)
    profiles = read_profiles()
    assert Settings.load(profile="x")
    assert "hunter2" not in f"{refused.value} {profiles}"


def test_a_damaged_file_is_not_quoted(write):
    write("[profiles.x]\nkafka_security_password = 'hunter2")
    with pytest.raises(SettingsError) as refused:
        Settings.load(profile="x")
    assert "hunter2" not in str(refused.value)


def test_without_a_file_there_are_no_profiles(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert read_profiles() == []
