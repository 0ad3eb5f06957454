"""Prints a few answers beside their prompts: `show_answers.py INPUT RESULTS`."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

_SHOWN = ("question-01", "question-05", "question-18", "question-19", "rewrite-01", "rewrite-09", "extract-04")


def main(inputs: Path, results: Path) -> None:
    """Print the table."""
    prompts = {}
    for line in inputs.read_text(encoding="utf-8").splitlines():
        request = json.loads(line)
        prompts[request["custom_id"]] = request["body"]["messages"][-1]["content"]
    answers = {}
    for line in results.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        failed = record["error"]
        answers[record["custom_id"]] = (
            failed["message"] if failed else record["response"]["body"]["choices"][0]["message"]["content"]
        )
    table = Table("custom_id", "prompt", "answer", title=f"{len(_SHOWN)} of {len(answers)} answers", show_lines=True)
    for custom_id in _SHOWN:
        table.add_row(custom_id, prompts[custom_id], " ".join(answers[custom_id].split()))
    console = Console()
    console.print(table)
    console.print("The model has 135 million parameters: it shows the way that requests take, not what models know.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
