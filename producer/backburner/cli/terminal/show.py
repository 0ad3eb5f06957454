"""Every line that the command line writes. stdout has data only, stderr all messages."""

import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Protocol

from backburner.cli.terminal.meter import duration
from backburner_schemas.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from backburner.jobs.reconcile import Reconciliation
    from backburner.jobs.streams import StreamStatus
    from backburner_schemas.job import Estimate
    from backburner_schemas.status import BatchStatus

_SPINNER_CHARACTERS = 3
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys, but for tabs and line ends. JSON lets some of them stand as they are."""
MAX_SHOWN_FINDINGS = 20
"""Findings in an input that are shown one by one; of the others only their number."""


class Finding(Protocol):
    """A line of an input that cannot be accepted."""

    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def message(self) -> str: ...  # noqa: D102


# --- stdout: data -----------------------------------------------------------------------------------------


class OutputClosed(Exception):
    """The reader of stdout has gone; there is nothing more to do and nothing to report."""


class OutputFailed(SettingsError):
    """The output cannot be written; free space, or write elsewhere."""


def out(text: str) -> None:
    """One line of data. On a terminal, control characters in it are escaped."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    out_bytes((printable(text) if on_terminal else text).encode(errors="surrogateescape"))


def out_bytes(line: bytes) -> None:
    """One line of data that is encoded already. On a terminal, control characters in it are escaped as JSON does.

    It goes out at once: whoever reads may be following a job.
    """
    if sys.stdout is None:
        raise OutputFailed("stdout is closed; leave it open, or write to a file with -o")
    if sys.stdout.isatty():
        text = line.decode(errors="backslashreplace")
        line = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
    try:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        # What is still buffered must not fail again at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputClosed from error
    except OSError as error:
        raise OutputFailed(f"stdout cannot be written to: {error.strerror}; free space, or write elsewhere") from error


# --- stderr: messages -----------------------------------------------------------------------------------------


def console() -> "Console":
    """Where messages go: stderr as it is now. No colours when NO_COLOR is set or it is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Within the block, what is no data, warning or error is left out, if `quiet`."""
    before = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(before)


def is_quiet() -> bool:
    """Whether information and progress are left out."""
    return _quiet.get()


def say(text: str) -> None:
    """One line of information."""
    if not is_quiet():
        _write("", "", text)


def warn(text: str) -> None:
    """One line of warning; the command goes on."""
    _write("warning: ", "yellow", text)


def error(text: str) -> None:
    """The one line with the reason why the command ended, and the remedy."""
    _write("error: ", "bold red", text)


def interrupted(text: str) -> None:
    """The message for Ctrl-C, on a line of its own, behind the terminal's `^C`."""
    _write("", "", f"\n{text}" if sys.stderr is not None and sys.stderr.isatty() else text)


def usage_error(text: str, command: str) -> None:
    """A wrong command line."""
    error(f"{text.strip().rstrip('.?')}; see `{command} --help`")


def traceback(raised: BaseException) -> None:
    """The whole chain of causes, for -v."""
    sys.stderr.write(printable("".join(format_exception(raised))))


def findings(found: Sequence[Finding], total: int) -> None:
    """What is wrong with an input, line by line, and how much more there is. What is wrong alike is said once."""
    alike: dict[str, list[int]] = {}
    for finding in found:
        alike.setdefault(finding.message, []).append(finding.line)
    counted = 0
    for message, lines in list(alike.items())[:MAX_SHOWN_FINDINGS]:
        counted += len(lines)
        more = f" and {len(lines) - 1:,} more" if len(lines) > 1 else ""
        _write("", "", f"line {lines[0]}{more}: {message}")
    if total > counted:
        _write("", "", f"and {total - counted:,} more")


def _write(label: str, style: str, text: str) -> None:
    from rich.text import Text

    console().print(Text.assemble((label, style), printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """The text with control characters escaped: ids, metadata and answers come from others."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1] for character in text
    )


# --- pictures of a job ------------------------------------------------------------------------------------


def status_lines(status: "BatchStatus") -> str:
    """A job as `name  value` lines."""
    counts, usage = status.request_counts, status.usage
    total = f"{counts.total:,}" if status.sealed else f"{counts.total:,} so far"
    rows = [
        ("job", status.id),
        ("tenant", status.tenant),
        ("status", str(status.status)),
        ("requests", f"{total}: {counts.completed:,} completed, {counts.failed:,} failed"),
        ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
        ("created", moment(status.created_at)),
        ("deadline", moment(status.expires_at)),
    ]
    if status.waiting is not None:
        rows.append(("waiting", f"{status.waiting.reason}: {status.waiting.detail}"))
    if status.estimate is not None and not status.frozen:
        rows.append(("estimate", _estimate(status.estimate)))
    errors = status.errors.data if status.errors is not None else ()
    rows += [
        ("error", error.message if error.line is None else f"line {error.line}: {error.message}")
        for error in errors[:MAX_SHOWN_FINDINGS]
    ]
    ended = status.completed_at or status.cancelled_at or status.expired_at or status.failed_at
    if ended is not None:
        rows.append(("ended", moment(ended)))
    rows += [(f"metadata.{name}", value) for name, value in status.metadata.items()]
    return named_lines(rows)


def stream_lines(status: "StreamStatus") -> str:
    """A stream as `name  value` lines."""
    counts, usage = status.request_counts, status.usage
    return named_lines(
        [
            ("stream", status.id),
            ("tenant", status.tenant),
            ("requests", f"{counts.total:,} so far: {counts.completed:,} completed, {counts.failed:,} failed"),
            ("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"),
            ("first record", moment(status.first_record_at)),
            ("last record", moment(status.last_record_at)),
        ]
    )


def _estimate(estimate: "Estimate") -> str:
    """What a stored job is expected to take, in one line."""
    time = f", {duration(estimate.seconds)}" if estimate.seconds is not None else ""
    return (
        f"{estimate.prompt_tokens:,} tokens in, {estimate.completion_tokens:,} out at most{time}; "
        f"{estimate.prefix_hit_ratio:.0%} of the requests begin with what the engine has in its cache"
    )


def named_lines(rows: Sequence[tuple[str, str]]) -> str:
    """`name  value` lines, with the values below each other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {printable(value)}" for name, value in rows)


def reconciliation_line(found: "Reconciliation") -> str:
    """The reconciliation of a job in one line."""
    parts = [f"{found.ok:,} ok", f"{found.failed:,} failed"]
    if found.pending is not None:
        parts.append(f"{found.pending:,} pending")
    total = f"{found.total:,} in" if found.total is not None else "stream"
    sign = "=" if found.agrees else ":" if found.stream else "!="
    return f"{total} {sign} {' + '.join(parts)}; {found.duplicates:,} duplicates".replace(" :", ":")


def jobs_table(found: Sequence["BatchStatus"]) -> None:
    """Jobs as a table on stdout."""
    header = ("JOB", "STATUS", "TOTAL", "DONE", "FAILED", "CREATED")
    table(header, [_row(status) for status in found], right=frozenset({2, 3, 4}))


def streams_table(found: Sequence["StreamStatus"]) -> None:
    """Streams as a table on stdout."""
    rows = [
        (
            *(printable(one.id), f"{one.request_counts.completed}", f"{one.request_counts.failed}"),
            *(f"{one.usage.input_tokens}", f"{one.usage.output_tokens}", moment(one.last_record_at)),
        )
        for one in found
    ]
    table(("STREAM", "DONE", "FAILED", "TOKENS IN", "TOKENS OUT", "LAST RECORD"), rows, right=frozenset({1, 2, 3, 4}))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int]) -> None:
    """A table on stdout: padded columns, so that it reads the same in a terminal and in a pipe.

    The columns in `right` hold numbers.
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        out("  ".join(cells).rstrip())


def cut(text: str, length: int) -> str:
    """The text on one line, with what cannot be printed escaped, no longer than that."""
    found = printable(" ".join(text[: length * 2].split()))
    return found if len(found) <= length else found[: length - 1] + "…"


def one_line(text: str) -> "Text":
    """The text as a line that moves: no longer than the terminal is wide, and without what would be obeyed."""
    from rich.text import Text

    # As a text: a spinner reads what stands in brackets in a string.
    return Text(cut(text, max(console().width - _SPINNER_CHARACTERS, 1)))


def _row(status: "BatchStatus") -> tuple[str, ...]:
    counts = status.request_counts
    return (
        status.id,
        str(status.status),
        f"{counts.total}" if status.sealed else f"{counts.total}+",
        f"{counts.completed}",
        f"{counts.failed}",
        moment(status.created_at),
    )


def moment(unix_seconds: float) -> str:
    """A time in UTC, to the second, as RFC 3339."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ending(status: "BatchStatus") -> str:
    """How a job ended, in one line."""
    counts = status.request_counts
    return f"{status.id} {status.status}: {counts.completed:,} of {counts.total:,} answered, {counts.failed:,} failed"


def out_json(value: Any) -> None:
    """A value as one line of JSON on stdout."""
    from pydantic_core import to_json

    out_bytes(to_json(value))
