"""What people see of an input that was refused: each finding on a line of its own, and then the error."""

from pathlib import Path
from typing import TYPE_CHECKING

from backburner.cli.terminal import show

if TYPE_CHECKING:
    from backburner.inputs.findings import InvalidInput


def listed(file: Path, error: "InvalidInput", to_do: str) -> Exception:
    """Print the findings one by one. Returns an error without them in its message.

    `to_do` is what --skip-invalid would do to the rest: `send`.
    """
    if not error.total:
        return error
    show.findings(error.findings, error.total)
    lines = "1 line" if error.total == 1 else f"{error.total:,} lines"
    return type(error)(
        f"{lines} of {'the input' if str(file) == '-' else file} cannot be accepted, and nothing was sent; correct "
        f"the input, or pass --skip-invalid to {to_do} the rest"
    )
