"""The Python blocks of README and docs pass a strict type checker, as a reader's program that copies them would."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parent.parent.parent
OTHER_CLIENTS = {ROOT / "docs" / "gateway.md"}
"""Pages whose blocks are for OpenAI's package: they go on from one another, and tests/e2e/test_gateway.py runs them."""
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - OTHER_CLIENTS)]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_IMPORTED = "from backburner import *\n"
"""What a block without an import of its own takes for granted."""
_GIVEN = "client: backburner.Client, job: backburner.Job, handle: backburner.Handle"
"""What a block takes for granted that is no whole program, as docs/python.md says."""


def blocks(page: str) -> Iterator[str]:
    """Each Python block of a page as a module of its own."""
    for found in _BLOCK.finditer(page):
        block = found[1]
        head = "" if "import backburner" in block or "from backburner import" in block else _IMPORTED
        if "async def" not in block and "with SyncClient(" not in block:
            head += "import backburner\n"
            block = f"async def main({_GIVEN}) -> None:\n{indent(block, '    ')}"
        yield f"{head}\n{block}"


def errors(folder: Path, modules: list[str]) -> list[str]:
    """What mypy finds in these modules, a line for each error."""
    paths = []
    for number, module in enumerate(modules):
        paths.append(folder / f"block_{number}.py")
        paths[-1].write_text(module, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary", *map(str, paths)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not outcome.stderr, outcome.stderr
    return outcome.stdout.splitlines()


def test_every_python_block_of_the_documents_passes_mypy(tmp_path: Path) -> None:
    found = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]
    # One that must fail, in the same run: otherwise nobody would notice that nothing is looked at.
    found += blocks(
        '```python\nasync with Client() as client:\n    await client.submit("in", priority="lowest")\n```\n'
    )
    assert len(found) > 1
    told = errors(tmp_path, found)
    last = f"block_{len(found) - 1}.py"
    assert [line for line in told if last not in line] == []
    assert any(last in line and 'Argument "priority"' in line for line in told)
