"""The notebook under examples/: run from its first cell to its last, and stored so that it reads well by itself."""

import os
import re
import shlex
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from backburner.cli.commands.stack import ensure_pool

NOTEBOOK = Path(__file__).parents[2] / "examples" / "label_reviews.ipynb"
CELL_SECONDS = 60
MAX_LINES = 12
"""What stands below a cell is looked at, not read."""


@pytest.fixture
async def folder(stack, tmp_path):
    """A folder as `backburner up` leaves it, with a worker for one pool, and nothing in the environment."""
    settings = {
        "BACKBURNER_STORE_URL": "s3://backburner/notebook",
        "BACKBURNER_PREFIX": "notebook",
        "BACKBURNER_POOL": "fake",
    }
    env = {**stack.env, **settings}
    await ensure_pool(env, "fake")
    worker = stack.worker("fake", **settings)
    await stack.warm(worker)
    (tmp_path / ".backburner").mkdir()
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in env.items()]
    (tmp_path / ".backburner" / "env").write_text("".join(lines))
    yield tmp_path
    worker.stop()


def outputs(notebook):
    """What stands below each cell of code, as text."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield "\n".join(
                output.get("text") or output.get("data", {}).get("text/plain") or "\n".join(output.get("traceback", []))
                for output in cell.outputs
            )


@pytest.mark.broker
@pytest.mark.store
async def test_from_nothing_to_a_labelled_table(folder):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BACKBURNER_", "AWS_"))}
    runner = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    await runner.async_execute(env=clean)
    model, rows, labelled, used, refused, waited, counted, closed = outputs(notebook)
    assert model == "'fake'"
    assert rows.count("\n") == 6
    # One line, which was drawn in place: the last is what stays.
    progress, _, table = labelled.partition("\n")
    assert re.fullmatch(r"batch_\w+ completed: 6/6 requests, 0 failed(, .*)?", progress)
    # The answers of the fake engine are long, so the table may be broken.
    assert table.count("fake-") == 6
    assert used.startswith("failed: 0\n")
    assert refused.splitlines()[0].startswith("----> 1 await answer_rows(client, reviews, ")
    assert "InvalidInput: the prompt names the column 'reveiw', and the rows have id, product, review" in refused
    assert len(refused.splitlines()) == 2
    assert waited.count("completed: 6") == 2  # the line of progress, and the status
    assert counted.startswith("text\n")
    assert closed == ""


def test_it_is_stored_with_short_outputs_and_nothing_of_the_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    shown = list(outputs(notebook))
    assert sum(map(bool, shown)) == len(shown) - 1, "run it anew: all cells but the last have an output"
    assert all(len(one.splitlines()) <= MAX_LINES for one in shown)
    assert "positive" in shown[2]
    assert not re.search(r"/(home|root|tmp|work)/", text)
    assert "execution_timing" not in text
