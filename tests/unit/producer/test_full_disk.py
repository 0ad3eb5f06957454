"""What needs temporary files and finds the disk full, or no folder for them: an error that says what to do."""

import tempfile
from contextlib import contextmanager

import pytest
from dead_letters import line
from pydantic_core import to_json

from backburner import temporary_files
from backburner_schemas.errors import TemporaryFilesError

TEN = [line(f"r{number}") for number in range(10)]


@pytest.fixture(params=["full", "missing"])
def disk(request, tmp_path, monkeypatch):
    """Call it: from then on nothing can be written into temporary files, or there is no folder for them."""

    @contextmanager
    def full(**_):
        (tmp_path / "input.jsonl").symlink_to("/dev/full")
        yield str(tmp_path)

    def break_it():
        if request.param == "full":
            monkeypatch.setattr(temporary_files, "TemporaryDirectory", full)
        else:
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    return break_it


async def test_a_redrive_says_where_it_needs_room_and_keeps_the_letters(system, failed, disk):
    disk()
    with pytest.raises(TemporaryFilesError, match="TMPDIR"):
        await system.client.redrive(job=failed.id)
    assert len([one async for one in system.client.dead_letters(failed.id)]) == 3


@pytest.mark.parametrize("given", [None, TEN])
async def test_a_retry_says_where_it_needs_room_and_sends_nothing(system, failed, disk, given):
    disk()
    before = system.published
    with pytest.raises(TemporaryFilesError, match="TMPDIR"):
        await system.client.retry_failed(failed.id, input=given)
    assert system.published == before


async def test_a_plan_says_where_it_needs_room(system, tmp_path, monkeypatch):
    path = tmp_path / "input.jsonl"
    with path.open("wb") as file:
        file.writelines(to_json(one) + b"\n" for one in TEN)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(TemporaryFilesError, match=f"{tmp_path}/gone.*TMPDIR"):
        await system.client.plan(path)
