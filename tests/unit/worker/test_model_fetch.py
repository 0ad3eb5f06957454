"""Making a model's folder: what is believed of a source, what is kept, and what is refused, with its remedy."""

import asyncio
import os
import random
import subprocess
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from backburner_schemas.errors import (
    ModelChecksumWrong,
    ModelFolderUnusable,
    ModelSourceRefused,
    ModelSourceUnavailable,
    SettingsError,
)
from backburner_worker.model_fetch import file_download, folder_lock
from backburner_worker.model_fetch import folder as folders
from backburner_worker.model_fetch.factory import open_model_source
from backburner_worker.model_fetch.fetch import ModelFetch, fetch_model
from backburner_worker.model_fetch.file_download import PartLimits
from backburner_worker.model_fetch.folder import ModelFolder
from backburner_worker.model_fetch.model_file import Digest, DigestKind, ModelFile
from backburner_worker.model_fetch.record import FolderRecord
from backburner_worker.settings import WorkerSettings

SOURCE = "s3://models/chat"
FILES = {"model.safetensors": random.Random(1).randbytes(5000), "config.json": b"{}", "deep/er/notes.txt": b""}


def sums_of(files):
    return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


class Source:
    """A source in memory, which counts what is read and can fail."""

    def __init__(self, files=FILES, *, sums=True, digests=False):
        self.content = {**files, **({"SHA256SUMS": sums_of(files)} if sums else {})}
        self.digests = digests
        self.read_bytes = Counter()
        self.listings = 0
        self.failures = []

    async def files(self):
        self.listings += 1
        return [
            ModelFile(
                name,
                len(data),
                sha256(data).hexdigest()[:8],
                Digest(DigestKind.SHA256, sha256(data).hexdigest()) if self.digests else None,
            )
            for name, data in self.content.items()
        ]

    async def read(self, file, start, length):
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return memoryview(self.content[file.name][start : start + length][:failure])
        self.read_bytes[file.name] += length
        return memoryview(self.content[file.name][start : start + length])

    async def close(self):
        pass


@pytest.fixture
def model(tmp_path):
    return tmp_path / "volume" / "chat"


@pytest.fixture
def fetch(model):
    async def run(source, *, url=SOURCE, checksum="", path=None):
        settings = WorkerSettings.load(model=str(path or model), model_source=url, model_checksum=checksum)
        folder = ModelFolder.named(settings.model, source=url, checksum=checksum)
        await ModelFetch(folder, source, settings, limits=PartLimits(1000, 3)).run()

    return run


def content(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".backburner-model.json"
    }


async def test_a_model_that_is_there_is_not_asked_for_again(fetch, model):
    source = Source()
    await fetch(source)
    assert content(model) == source.content
    await fetch(source)
    assert source.listings == 1


async def test_a_source_without_sums_is_fetched_with_a_warning(fetch, model, caplog):
    await fetch(Source(sums=False))
    assert content(model) == FILES
    assert "contents are not" in caplog.text


async def test_a_checksum_makes_the_place_of_the_source_unimportant(fetch, model):
    checksum = sha256(sums_of(FILES)).hexdigest()
    await fetch(Source(), checksum=checksum)
    moved = Source()
    await fetch(moved, url="s3://elsewhere/chat", checksum=checksum)
    assert moved.listings == 0


async def test_another_checksum_replaces_the_folder(fetch, model):
    await fetch(Source(), checksum=sha256(sums_of(FILES)).hexdigest())
    newer = {"model.safetensors": b"newer"}
    await fetch(Source(newer), checksum=sha256(sums_of(newer)).hexdigest())
    assert content(model) == {**newer, "SHA256SUMS": sums_of(newer)}
    assert {path.name for path in model.parent.iterdir()} == {"chat", ".lock-chat"}


@pytest.mark.parametrize("damage", ["cut off", "removed"])
async def test_a_folder_that_was_damaged_is_made_anew(fetch, model, damage):
    await fetch(Source())
    if damage == "removed":
        (model / "model.safetensors").unlink()
    else:
        os.truncate(model / "model.safetensors", 10)
    await fetch(Source())
    assert content(model) == Source().content


async def test_what_the_sums_do_not_list_is_passed_over(fetch, model):
    source = Source()
    source.content["../evil.py"] = source.content["setup.py"] = b"import os"
    await fetch(source)
    assert set(content(model)) == {*FILES, "SHA256SUMS"}


@pytest.mark.parametrize("known", ["by the list of sums", "by the source itself"])
async def test_a_wrong_file_is_never_visible(fetch, model, known):
    source = Source(sums=known == "by the list of sums", digests=known == "by the source itself")
    listed = await source.files()
    source.content["model.safetensors"] = bytes(5000)

    async def files():
        return listed

    source.files = files
    with pytest.raises(ModelChecksumWrong, match=r"model\.safetensors.*expected"):
        await fetch(source)
    assert not model.exists()
    await fetch(Source())
    assert content(model)["model.safetensors"] == FILES["model.safetensors"]


async def test_a_part_of_another_file_is_found_by_the_sum_and_fetched_anew(fetch, model, caplog):
    folder = ModelFolder(model, source=SOURCE, checksum="")
    folder.part.mkdir(parents=True)
    (folder.part / "model.safetensors").write_bytes(b"x" * 9000)
    source = Source()
    await fetch(source)
    assert content(model) == source.content
    assert "not of this file" in caplog.text


@pytest.mark.parametrize("left", ["original", "original/weights/a.bin", "original/weights/a.bin/deeper.bin"])
async def test_what_is_left_of_a_file_where_a_folder_is_wanted_or_the_other_way_round_goes(fetch, model, left):
    folder = ModelFolder(model, source=SOURCE, checksum="")
    (folder.part / left).parent.mkdir(parents=True)
    (folder.part / left).write_bytes(b"left")
    source = Source({"original/weights/a.bin": b"abc", "config.json": b"{}"})
    await fetch(source)
    assert content(model) == source.content


async def test_a_record_that_cannot_be_read_is_told_with_its_folder(fetch, model):
    (model / ".backburner-model.json").mkdir(parents=True)
    with pytest.raises(ModelFolderUnusable, match=f"Is a directory; check .* holds {model}"):
        await fetch(Source())


async def test_without_a_sum_a_part_is_gone_on_with_only_until_the_machine_is_started_again(fetch, model, monkeypatch):
    async def interrupted(boot):
        monkeypatch.setattr(folders, "boot_id", lambda: "first boot")
        folder = ModelFolder(model, source=SOURCE, checksum="")
        folder.part.mkdir(parents=True)
        (folder.part / "model.safetensors").write_bytes(FILES["model.safetensors"][:3000])
        tag = sha256(FILES["model.safetensors"]).hexdigest()[:8]
        folder.save(FolderRecord(source=SOURCE, boot="first boot", begun={"model.safetensors": tag}))
        monkeypatch.setattr("backburner_worker.model_fetch.fetch.boot_id", lambda: boot)
        source = Source(sums=False)
        await fetch(source)
        assert content(model) == FILES
        return source.read_bytes["model.safetensors"]

    assert await interrupted("first boot") == 2000
    for path in sorted(model.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert await interrupted("second boot") == 5000


async def test_a_read_that_fails_on_its_way_is_tried_again(fetch, model, monkeypatch):
    monkeypatch.setattr(file_download, "_WAIT", lambda _: 0)
    source = Source(sums=False)
    source.failures = [ModelSourceUnavailable(), 10, ModelSourceUnavailable()]
    await fetch(source)
    assert content(model) == FILES


async def test_a_source_that_goes_on_failing_ends_it(fetch, model, monkeypatch):
    monkeypatch.setattr(file_download, "_WAIT", lambda _: 0)
    source = Source(sums=False)
    source.failures = [ModelSourceUnavailable("it is away")] * 1000
    with pytest.raises(ModelSourceUnavailable, match="it is away"):
        await fetch(source)
    assert not model.exists()


async def test_a_refusal_is_not_tried_again(fetch):
    source = Source(sums=False)
    source.failures = [ModelSourceRefused("no"), *[ModelSourceUnavailable()] * 100]
    with pytest.raises(ModelSourceRefused, match="no"):
        await fetch(source)
    assert len(source.failures) > 90


# --- what a source says is not believed ---


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "a/../../outside",
        "/etc/passwd",
        "a//b",
        "./a",
        "a\\b",
        "a\nb",
        "x" * 256,
        "/".join("abcdefghijklmnopqrstuvw"),
        ".backburner-model.json/x",
        ".backburner-model.json.new/x",
    ],
)
async def test_a_name_that_is_no_plain_path_is_refused(fetch, model, name):
    with pytest.raises(ModelSourceRefused, match="rename it there"):
        await fetch(Source({name: b"x"}, sums=False))
    assert not model.exists()
    assert not (model.parent.parent / "outside").exists()


async def test_a_name_in_the_list_of_sums_is_judged_too(fetch, model):
    source = Source()
    source.content["../outside"] = b"x"
    source.content["SHA256SUMS"] += f"{sha256(b'x').hexdigest()}  ../outside\n".encode()
    with pytest.raises(ModelSourceRefused, match="rename it there"):
        await fetch(source)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no files"),
        ({"a": b"1", "a/b": b"2"}, "both as a file and as a folder"),
        ({f"f{number}": b"" for number in range(10_001)}, "over 10000 files"),
        ({"SHA256SUMS": b"not a sum\n"}, "line 1 of SHA256SUMS is no SHA-256"),
        ({"SHA256SUMS": b"\xff\xfe"}, "not UTF-8"),
        ({"SHA256SUMS": b"\n"}, "lists no file"),
        ({"SHA256SUMS": sums_of({"a": b"1"})}, "lists a, which the source does not have; upload"),
        ({"SHA256SUMS": sums_of({"a": b"1", "b": b""})}, "lists a, which the source does not have, nor 1 other"),
        ({"a": b"1", "SHA256SUMS": sums_of({"a": b"1"}) + sums_of({"a": b"2"})}, "two sums for a"),
        ({"SHA256SUMS": bytes(5 * 1024 * 1024)}, "no list of a model"),
    ],
)
async def test_a_source_that_is_no_model_is_refused(fetch, model, files, message):
    with pytest.raises(ModelSourceRefused, match=message):
        await fetch(Source(files, sums=False))
    assert not model.exists()


async def test_a_checksum_needs_a_list_of_sums_and_is_of_that(fetch, model):
    with pytest.raises(ModelSourceRefused, match="has no SHA256SUMS"):
        await fetch(Source(sums=False), checksum="0" * 64)
    with pytest.raises(ModelChecksumWrong, match=f"BACKBURNER_MODEL_CHECKSUM is {'0' * 64}"):
        await fetch(Source(), checksum="0" * 64)
    assert not model.exists()


async def test_sums_are_read_as_sha256sum_writes_them_in_any_mode(fetch, model):
    source = Source()
    text = source.content["SHA256SUMS"].decode()
    source.content["SHA256SUMS"] = text.upper().replace("  ", " *./").lower().encode()
    await fetch(source)
    assert set(content(model)) == {*FILES, "SHA256SUMS"}


# --- the folder ---


async def test_a_folder_with_files_of_somebody_else_is_left_alone(fetch, model):
    model.mkdir(parents=True)
    (model / "mine.txt").write_text("precious")
    with pytest.raises(ModelFolderUnusable, match="holds files that fetch-model did not put there"):
        await fetch(Source())
    assert content(model) == {"mine.txt": b"precious"}


async def test_an_empty_folder_is_replaced(fetch, model):
    model.mkdir(parents=True)
    await fetch(Source())
    assert content(model) == Source().content


async def test_too_little_room_is_said_before_anything_is_fetched(fetch, model, monkeypatch):
    state = os.statvfs("/")
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((state.f_bsize, 1, *([1] * 8))))
    source = Source(sums=False)
    with pytest.raises(ModelFolderUnusable, match="are free at"):
        await fetch(source)
    assert not source.read_bytes


async def test_a_volume_that_is_full_in_the_middle_is_named(fetch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ModelFolderUnusable, match=r"No space left on device.*has room"):
        await fetch(Source())


async def test_a_mount_point_cannot_be_the_folder(fetch, model, monkeypatch):
    model.mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(ModelFolderUnusable, match=f"mount it at {model.parent}"):
        await fetch(Source())


async def test_a_file_in_the_way_is_named(fetch, tmp_path):
    (tmp_path / "volume").write_text("")
    with pytest.raises(ModelFolderUnusable, match=r"volume.*check that this user may write"):
        await fetch(Source())


async def test_a_volume_without_locks_is_used_with_a_warning(fetch, model, monkeypatch, caplog):
    def without(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", without)
    await fetch(Source())
    assert content(model) == Source().content
    assert "no locks" in caplog.text


async def test_of_two_that_no_lock_keeps_apart_the_later_one_takes_what_the_first_made(fetch, model, monkeypatch):
    source = Source()
    publish = ModelFolder.publish

    def later(self, record):
        publish(self, record)
        monkeypatch.setattr(ModelFolder, "publish", publish)
        self.part.mkdir()
        publish(self, record)  # As if another process had been sooner.

    monkeypatch.setattr(ModelFolder, "publish", later)
    await fetch(source)
    assert content(model) == source.content
    assert {path.name for path in model.parent.iterdir()} == {"chat", ".lock-chat"}


# --- settings ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_source": ""}, "BACKBURNER_MODEL_SOURCE is not set; write s3://"),
        ({"model_source": "ftp://there"}, "not understood"),
        ({"model_source": "file://relative/folder"}, "not understood"),
        ({"model_source": "s3://"}, "BACKBURNER_MODEL_SOURCE"),
        ({"model_source": "hf://gpt2"}, "hf://org/name@revision"),
        ({"model_source": "s3://user:secret@bucket/x"}, "no user or password"),
        ({"model": ""}, "BACKBURNER_MODEL is not set"),
        ({"model": "org/name"}, "set it to the folder to make"),
        ({"model": "/models/../etc"}, "set it to the folder to make"),
        ({"model_checksum": "abc"}, "no SHA-256"),
    ],
)
async def test_settings_that_cannot_be_used_name_the_remedy(given, message):
    with pytest.raises(SettingsError, match=message):
        await fetch_model(WorkerSettings.load(**{"model": "/models/chat", "model_source": "file:///none", **given}))


async def test_a_model_server_of_its_own_takes_the_place_of_the_stores(monkeypatch):
    opened = []
    monkeypatch.setattr(
        "backburner_worker.model_fetch.store_source.Storage.open",
        lambda settings: opened.append((settings.store_url, settings.store_endpoint)),
    )
    common = {"store_url": "s3://results/main", "store_endpoint": "http://results", "model_source": "s3://models/chat/"}
    for more in ({}, {"model_endpoint": "http://models"}, {"model_source": "gs://models/chat"}):
        open_model_source(WorkerSettings.load(**{**common, **more}))
    assert opened == [
        ("s3://models/chat", "http://results"),
        ("s3://models/chat", "http://models"),
        ("gs://models/chat", None),
    ]


async def test_a_folder_is_a_source(tmp_path, model):
    source = tmp_path / "shared"
    for name, data in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    (source / "linked").symlink_to(source / "config.json")
    await fetch_model(WorkerSettings.load(model=str(model), model_source=f"file://{source}"))
    assert content(model) == {**FILES, "linked": b"{}"}
    assert not (model / "linked").is_symlink()
    again = model.with_name("again")
    await fetch_model(WorkerSettings.load(model=str(again), model_source=f"file://{model}"))
    assert content(again) == content(model)
    with pytest.raises(ModelSourceRefused, match="is no folder here"):
        await fetch_model(WorkerSettings.load(model=str(model), model_source=f"file://{source}/none"))


async def test_the_page_says_how_sums_are_written(tmp_path, model):
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    (commands,) = [text for text in page.split("```sh\n")[1:] if "sha256sum" in text]
    kept = tmp_path / "srv" / "models" / "chat-2026-11"
    for name, data in FILES.items():
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_bytes(data)
    script = commands.partition("```")[0].replace("/srv", f"{tmp_path}/srv")
    said = await asyncio.to_thread(subprocess.check_output, ["bash", "-ec", script], text=True, timeout=30)
    await fetch_model(
        WorkerSettings.load(model=str(model), model_source=f"file://{kept}", model_checksum=said.split()[0])
    )
    assert content(model).keys() == {*FILES, "SHA256SUMS"}


async def test_models_whose_names_begin_alike_are_made_beside_each_other(fetch, model):
    longer = model.with_name("chat-7b")
    part = ModelFolder(longer, source=SOURCE, checksum="").part
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes(FILES["model.safetensors"][:3000])
    old = longer.with_name(f".old-{longer.name}-{part.name[-12:]}")
    old.mkdir()
    await fetch(Source())
    assert old.is_dir()
    source = Source()
    await fetch(source, path=longer)
    assert source.read_bytes["model.safetensors"] == 2000
    assert not old.exists()


async def test_without_a_sum_a_part_is_gone_on_with_only_while_the_source_has_the_same_file(fetch, model, monkeypatch):
    monkeypatch.setattr(file_download, "_WAIT", lambda _: 0)
    older = Source({"model.safetensors": bytes(5000)}, sums=False)
    read = older.read

    async def away_later(file, start, length):
        if start >= 2000:
            raise ModelSourceUnavailable
        return await read(file, start, length)

    older.read = away_later
    with pytest.raises(ModelSourceUnavailable):
        await fetch(older)
    newer = Source({"model.safetensors": FILES["model.safetensors"]}, sums=False)
    newer.failures = [ModelSourceUnavailable()] * 100
    with pytest.raises(ModelSourceUnavailable):
        await fetch(newer)
    newer.failures = []
    await fetch(newer)
    assert content(model) == newer.content
