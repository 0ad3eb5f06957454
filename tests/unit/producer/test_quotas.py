"""The file of quotas: strictly read, completed by its defaults, and taken up anew when it changes."""

import os

import pytest
from clock import Clock

from backburner import quotas
from backburner.quotas import Quotas, QuotasFile, Rate
from backburner_schemas.errors import SettingsError

WHOLE = """
[default]
weight = 1
requests = "50/second"
concurrent_uploads = 4
jobs = 200
queued_requests = 1_000_000
queued_tokens = 2_000_000_000
stored_bytes = 500_000_000_000

[default.each_caller]
requests = "20 per second"
jobs = 50

[tenants.acme]
weight = 4
requests = "6000/minute"

[tenants.acme.each_caller]
jobs = 100

[tenants.acme.callers.key_0123456789abcdef0123]
requests = "5/hour"
"""


def test_a_tenant_has_what_it_says_and_else_the_defaults():
    quotas = Quotas.parse(WHOLE)
    acme, other = quotas.of("acme"), quotas.of("other")
    assert (acme.requests, other.requests) == (Rate(6000, 60), Rate(50, 1))
    assert (acme.weight, other.weight, quotas.weight("acme"), quotas.weight("?")) == (4.0, 1.0, 4.0, 1.0)
    assert acme.stored_bytes == other.stored_bytes == 500_000_000_000
    assert (acme.of_caller("bob").jobs, acme.of_caller("bob").requests) == (100, Rate(20, 1))
    assert (other.of_caller("bob").jobs, other.of_caller("bob").requests) == (50, Rate(20, 1))
    single = acme.of_caller("key_0123456789abcdef0123")
    assert (single.requests, single.jobs) == (Rate(5, 3600), 100)


@pytest.mark.parametrize("default", ["", "[default]\n"])
def test_single_callers_have_what_each_caller_has_also_without_a_default(default):
    text = '[tenants.acme.each_caller]\nrequests = "10/second"\n[tenants.acme.callers.key_x]\njobs = 5\n'
    single = Quotas.parse(default + text).of("acme").of_caller("key_x")
    assert (single.requests, single.jobs) == (Rate(10, 1), 5)


def test_the_defaults_single_callers_have_what_its_each_caller_has():
    text = '[default.each_caller]\nrequests = "10/second"\n[default.callers.key_x]\njobs = 5\n'
    parsed = Quotas.parse(text + "[tenants.acme]\njobs = 7")
    single = parsed.of("other").of_caller("key_x")
    assert (single.requests, single.jobs) == (Rate(10, 1), 5)
    # A key belongs to one tenant.
    assert parsed.of("acme").callers == {}


def test_what_nobody_wrote_is_not_limited():
    quota = Quotas.parse("").of("acme")
    assert (quota.requests, quota.jobs, quota.stored_bytes, quota.of_caller("a").requests) == (None,) * 4


def test_a_rate_is_shown_as_it_is_written():
    for text in ("1/second", "5/hour", "999999999/day", "60/minute"):
        assert f'"{text}"' in Quotas.parse(f'[default]\nrequests = "{text}"').default.model_dump_json()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[default]\nrequest = '1/second'", "default.request: "),
        ("[default]\nrequests = 5", "50/second"),
        ("[default]\nrequests = '5/week'", "50/second"),
        ("[default]\nrequests = '0/second'", "50/second"),
        ("[default]\nrequests = '-1/second'", "50/second"),
        ("[default]\nrequests = '1.5/second'", "50/second"),
        ("[default]\nrequests = '1/second\\n'", "default.requests"),
        ("[default]\njobs = '5'", "default.jobs: "),
        ("[default]\njobs = -1", "default.jobs: "),
        ("[default]\njobs = 1.5", "default.jobs: "),
        ("[default]\njobs = true", "default.jobs: "),
        ("[default]\njobs = 99999999999999999999", "default.jobs: "),
        ("[default]\nweight = 0", "default.weight: "),
        ("[default]\nweight = -1", "default.weight: "),
        ("[default]\nweight = nan", "default.weight: "),
        ("[default]\nweight = inf", "default.weight: "),
        ("[default.each_caller]\nweight = 2", "default.each_caller.weight: "),
        ("[default.each_caller]\nstored_bytes = 2", "default.each_caller.stored_bytes: "),
        ("[tenants.'a/b']\njobs = 1", "tenant's name"),
        ("[tenants.'..']\njobs = 1", "tenant's name"),
        ("[tenants]\nacme = 5", "tenants.acme"),
        ("default = 5\n[tenants.acme]", "default"),
        ("tenants = []\n[default]", "tenants"),
        ("[tenants.acme]\ncallers = 5\n[default]", "tenants.acme.callers"),
        ("[other]", "other: "),
        ("jobs = 5", "jobs: "),
        ("[default", "table declaration"),
        ("[default]\njobs = 1\njobs = 2", "Cannot overwrite"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_where(text, told):
    with pytest.raises(ValueError, match=told):
        Quotas.parse(text)


# --- the file ---


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "quotas.toml"
    path.write_text("[default]\njobs = 1\n")
    return path


def jobs(file, clock):
    clock.now += 1
    return file.current.default.jobs


def test_a_changed_file_is_taken_up_without_a_restart(path, clock):
    file = QuotasFile(path, clock=clock)
    assert jobs(file, clock) == 1
    path.write_text("[default]\njobs = 22\n")
    assert jobs(file, clock) == 22


def test_a_file_behind_links_is_taken_up_when_a_link_changes(tmp_path, clock):
    """As Kubernetes mounts a ConfigMap: `quotas.toml` → `..data/quotas.toml`, `..data` → a folder of the version's."""
    for version, number in (("1", 1), ("2", 2)):
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "quotas.toml").write_text(f"[default]\njobs = {number}\n")
        os.utime(folder / "quotas.toml", (1_000, 1_000))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "quotas.toml").symlink_to("..data/quotas.toml")
    file = QuotasFile(tmp_path / "quotas.toml", clock=clock)
    assert jobs(file, clock) == 1
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert jobs(file, clock) == 2


@pytest.mark.parametrize(
    "content", [b"[default]\njobs = -1", b"[", b"\xff", b"#" * (4 * 1024 * 1024 + 1), b"a=" + b"[" * 5000, None]
)
def test_a_broken_file_is_told_once_and_changes_nothing(path, clock, content, caplog):
    file = QuotasFile(path, clock=clock)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for _ in range(5):
        assert jobs(file, clock) == 1
    assert len(caplog.records) == 1
    path.write_text("[default]\njobs = 3\n")
    assert jobs(file, clock) == 3


def test_a_file_that_could_not_be_read_is_read_again_and_one_that_is_wrong_is_not(path, clock, caplog, monkeypatch):
    file, reads = QuotasFile(path, clock=clock), 0
    path.write_text("[default]\njobs = 22\n")

    def failing(path):
        nonlocal reads
        reads += 1
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(quotas, "_read", failing)
        assert [jobs(file, clock) for _ in range(3)] == [1] * 3
    assert (reads, len(caplog.records)) == (3, 1)
    assert jobs(file, clock) == 22
    path.write_text("[default]\njobs = -1\n")
    assert [jobs(file, clock) for _ in range(3)] == [22] * 3
    monkeypatch.setattr(quotas, "_read", failing)
    assert (jobs(file, clock), reads) == (22, 3)


def test_the_file_is_looked_at_once_a_second_at_most(path, clock):
    file = QuotasFile(path, clock=clock)
    path.write_text("[default]\njobs = 22\n")
    clock.now += 0.9
    assert file.current.default.jobs == 1
    clock.now += 0.1
    assert file.current.default.jobs == 22


@pytest.mark.parametrize("content", [b"[default]\njobs = -1", b"\xff", None])
def test_a_file_that_cannot_be_used_at_the_start_is_an_error(path, content):
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="BACKBURNER_QUOTAS_FILE"):
        QuotasFile(path)


def test_without_a_file_nothing_is_limited():
    assert QuotasFile(None).current == Quotas()
