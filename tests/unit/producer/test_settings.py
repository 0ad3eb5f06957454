"""Settings of every part: what cannot be used is refused before anything is sent or stored."""

import pytest

from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import SettingsError, StoreError


@pytest.mark.parametrize("url", ["file://data/x", "file://", "file:x"])
def test_a_file_url_without_a_whole_path_is_refused(url):
    with pytest.raises(SettingsError, match="file:///folder"):
        Storage.open(Settings(store_url=url))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=f"{tmp_path}/file/below"):
        Storage.open(Settings(store_url=f"file://{tmp_path}/file/below"))


@pytest.mark.parametrize("key", ["a//b", "a/../b", "a\x00b"])
async def test_a_key_that_cannot_be_is_an_error_that_is_not_tried_again(key):
    storage = Storage.open(Settings(store_url="memory://"))
    for call in (storage.get(key), storage.put(key, b""), storage.create(key, b""), storage.modified(key)):
        with pytest.raises(StoreError) as caught:
            await call
        assert not caught.value.retryable
    with pytest.raises(StoreError):
        _ = [one async for one in storage.scan(key)]


@pytest.mark.parametrize("prefix", ["a/b", "a b", "a" * 81, "a:b", "a\n"])
def test_a_prefix_that_no_topic_can_carry_is_refused(prefix):
    with pytest.raises(SettingsError, match="BACKBURNER_PREFIX"):
        Settings.load(prefix=prefix)


def test_a_prefix_may_have_what_topics_have():
    assert Settings.load(prefix="Team_1.batch-x").prefix == "Team_1.batch-x"


@pytest.mark.parametrize("url", ["", "redis://x", "kafka://"])
def test_an_error_about_the_queue_shows_the_right_forms(url):
    with pytest.raises(SettingsError, match=r"kafka://host:port,… or sqs://region"):
        Settings.load(queue_url=url).queue  # noqa: B018 - it is the property that raises
