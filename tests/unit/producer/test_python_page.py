"""The examples of docs/python.md, which stand in the docstrings, do something: each runs against the fake system."""

import re
from functools import partial
from pathlib import Path
from textwrap import indent

import pytest

import backburner
from backburner.testing import FakeSystem

PAGE_FOLDER = Path(__file__).parents[3] / "docs"
PAGE = (PAGE_FOLDER / "python.md").read_text(encoding="utf-8")
_TITLE = re.compile(r"^#+ `([\w.]+)`$", re.MULTILINE)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def examples():
    """Each example with the name that it stands under."""
    titles = [(found.start(), found[1]) for found in _TITLE.finditer(PAGE)]
    for found in _BLOCK.finditer(PAGE):
        title = [name for start, name in titles if start < found.start()][-1]
        yield pytest.param(found[1], id=title)


def line(custom_id):
    return {
        "custom_id": custom_id,
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": f"question {custom_id}"}]},
    }


@pytest.fixture
def prompts(tmp_path, monkeypatch):
    """A working folder with the input that the examples name."""
    monkeypatch.chdir(tmp_path)
    lines = [line(custom_id) for custom_id in "abc"]
    (tmp_path / "prompts.jsonl").write_bytes(
        b"".join(backburner.BatchRequest(**one).model_dump_json().encode() + b"\n" for one in lines)
    )


def compiled(example):
    """The example's functions: those that it defines, or one that takes what the page says is there."""
    if "async def" not in example:
        example = f"async def main(client, job, handle):\n{indent(example, '    ')}"
    space = {name: getattr(backburner, name) for name in backburner.__all__}
    own = set(space)
    exec(example, space)
    return [value for name, value in space.items() if name not in own and getattr(value, "__code__", None)]


@pytest.mark.parametrize("example", [one for one in examples() if "SyncClient()" not in one.values[0]])
async def test_an_example_runs(example, prompts, monkeypatch):
    async with FakeSystem() as system:
        made = partial(system.new_client)
        made.from_env_file = system.new_client
        monkeypatch.setattr(backburner, "Client", made)
        system.fail(["b"])
        job = await system.client.submit("prompts.jsonl")
        handle = await system.client.enqueue("hello")
        await job.wait(timeout=5)
        system.mend()
        for function in compiled(example):
            takes_parts = function.__code__.co_argcount
            await (function(system.client, job, handle) if takes_parts else function())


@pytest.mark.parametrize("example", [one for one in examples() if "SyncClient()" in one.values[0]])
def test_a_blocking_example_runs(example, prompts, monkeypatch):
    with FakeSystem() as system:
        monkeypatch.setattr(backburner, "SyncClient", lambda: system.sync_client)
        exec(example, {"SyncClient": backburner.SyncClient})


def test_there_are_examples_of_whatever_users_do():
    titled = {one.id for one in examples()}
    assert {"Client", "Client.enqueue", "Client.submit", "Job.results", "SyncClient", "FakeSystem"} <= titled
    assert len(titled) > 20


async def test_the_page_on_notebooks_runs_from_its_first_example_to_its_last(prompts, monkeypatch, capsys):
    cells = "\n".join(_BLOCK.findall((PAGE_FOLDER / "notebooks.md").read_text(encoding="utf-8")))
    space: dict = {}
    exec(f"async def main():\n{indent(cells, '    ')}", space)
    async with FakeSystem(lambda _: "positive") as system:
        monkeypatch.setattr(backburner.Client, "from_env_file", system.new_client)
        await space["main"]()
    shown = capsys.readouterr().out
    assert shown.startswith("fake\n")
    assert shown.count("positive") == 4
