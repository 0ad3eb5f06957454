"""How this process writes its log: lines to read in a terminal, JSON for machines, always on stderr.

Programs call `configure` once at their start; then all that is logged with `structlog` or the standard library's
`logging` comes out in one form. What runs inside users' programs, which configure nothing of ours, logs with
`get_logger`: there its records go where the standard library's go, and never to stdout.
"""

import datetime as dt
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from json import dumps
from types import TracebackType
from typing import Any, TextIO

import structlog

from backburner_schemas.errors import BackburnerError, SettingsError, cut

LEVELS = ("debug", "info", "warning", "error")

_NOISY = ("aiokafka", "asyncio", "botocore", "urllib3")
"""Libraries whose information only helps at level debug; their warnings stay."""
_REPEATING = ("aiokafka", "botocore", "urllib3")
"""Those that log the same at each of their own retries, ten times a second while a system is away."""
_REPEAT_SECONDS = 30.0
_KEY = re.compile(r"(?P<key>bb-[A-Za-z0-9_-]{6})[A-Za-z0-9_-]{20,}")
_SECRET = re.compile(_KEY.pattern + r"|(?P<token>eyJ)[A-Za-z0-9_-]{8,}(?P<signed>\.[A-Za-z0-9_-]{2,}[A-Za-z0-9._-]*)?")
"""API keys of the gateway, and signed tokens: never in a log, whoever puts them there.

What only begins as a token does is found too: a search that went on within it would take the square of its length.
"""
_URL_SECRET = re.compile(
    r"(?P<user>://)[^/\s\"']+@"
    r"|(?P<name>(?:X-Amz-(?:Signature|Security-Token|Credential)|AWSAccessKeyId|Signature|sig|access_token)=)[^&\s\"']+"
)
"""Users and passwords in URLs, to the last @ since a password may hold more of them, and what signs URLs, which may be
told without what is before their path."""
_MAX_FIELD_BYTES = 16_384
"""The last line of defence: whatever is logged, a field is no longer."""
_MAX_TRACEBACK_BYTES = 32_768
_MAX_CAUSES_COUNT = 8
_PARAM = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
"""What looks like a parameter's name."""
_ORDINARY = {"aiokafka.consumer.group_coordinator": "GroupCoordinatorNotAvailableError"}
"""What a library logs as an error and retries by itself: a cluster's first group waits for Kafka's own topic."""


def configure(level: str, json: bool | None = None) -> None:  # noqa: FBT001 - the agreed form
    """Write records from that level on. `json` None: JSON unless stderr is a terminal. Raises `SettingsError`."""
    wanted = level.lower()
    if wanted not in LEVELS:
        raise SettingsError(f"BACKBURNER_LOG_LEVEL {level!r} is unknown; use one of {', '.join(LEVELS)}")
    threshold = logging.getLevelNamesMapping()[wanted.upper()]
    as_json = not _is_terminal() if json is None else json
    texts = wanted == "debug"
    before = _before_rendering()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Stderr(as_json=as_json)
    handler.addFilter(_Calmly(threshold))
    if wanted != "debug":
        handler.addFilter(_Seldom())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(as_json=as_json, texts=texts),
            ],
        )
    )
    root = logging.getLogger()
    for old in [found for found in root.handlers if isinstance(found, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    sys.excepthook = _end_by
    for name in _NOISY:
        logging.getLogger(name).setLevel(threshold if wanted == "debug" else max(threshold, logging.WARNING))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for code that may run in a program which never called `configure`."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_before_rendering(),
            _hand_over,
        ],
    )
    return logger


def silence(*libraries: str) -> None:
    """Drop what these libraries log: their caller raises a better error."""
    for name in libraries:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def masked(text: str) -> str:
    """The text with API keys and signed tokens cut to how they begin, and URLs without what lets their reader in."""
    text = _SECRET.sub(_cut_secret, text)
    if "=" not in text and "://" not in text:
        return text
    return _URL_SECRET.sub(lambda found: f"{found['user']}…@" if found["user"] else f"{found['name']}…", text)


def _cut_secret(found: re.Match[str]) -> str:
    if found["token"] and not found["signed"]:
        return _KEY.sub(r"\g<key>…", found[0])
    return f"{found['key'] or found['token']}…"


def explained(error: BackburnerError, *, whole: bool = False) -> dict[str, str]:
    """The fields by which a log line tells of an error: its code, and its message unless that may quote a caller.

    What quotes callers is told by the parameter alone, if it is one's name, and `whole` if prompts may be logged.
    """
    fields = {"code": error.code}
    if error.param is not None and _PARAM.fullmatch(error.param):
        fields["param"] = error.param
    if whole or not error.quotes_callers or error.message == error.default_message():
        fields["error"] = error.message
    return fields


def raised(error: BaseException) -> str:
    """Where an exception was raised, and what caused it, without texts that may hold what callers sent.

    Types and lines of code are enough to find the place. Our own errors' messages are kept where they quote nobody, and
    those of the operating system.
    """
    parts: list[str] = []
    _describe(error, parts, set())
    return cut("\n".join(reversed(parts)), _MAX_TRACEBACK_BYTES)


def guard(library: str) -> None:
    """Have what a library logs by handlers of its own say no more of an exception than `raised` does."""
    for handler in logging.getLogger(library).handlers:
        handler.addFilter(_Guarded())


def _describe(error: BaseException, parts: list[str], seen: set[int]) -> None:
    """Add the exception, then what caused it."""
    if id(error) in seen or len(seen) >= _MAX_CAUSES_COUNT:
        return
    seen.add(id(error))
    said = f": {error}" if _may_be_told(error) else ""
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    parts.append("\n".join(filter(None, (frames, f"{type(error).__module__}.{type(error).__qualname__}{said}"))))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            _describe(each, parts, seen)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        _describe(cause, parts, seen)


def _may_be_told(error: BaseException) -> bool:
    if isinstance(error, BackburnerError):
        return not error.quotes_callers
    return isinstance(error, OSError) and error.errno is not None


def _end_by(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what ends the process, as all else is logged; Python would print all that it says."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    get_logger(__name__).error("process failed unexpectedly; exiting", exc_info=(kind, error, trace))


class _Guarded(logging.Filter):
    """Has a record's exception written by `raised`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = raised(record.exc_info[1])
        return True


class _Calmly(logging.Filter):
    """Logs an ordinary event that a library calls an error as information."""

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self._threshold = threshold

    def filter(self, record: logging.LogRecord) -> bool:
        ordinary = _ORDINARY.get(record.name)
        if ordinary is not None and ordinary in record.getMessage():
            record.levelno, record.levelname = logging.INFO, "INFO"
        return record.levelno >= self._threshold


class _Seldom(logging.Filter):
    """Limits how often a library logs the same message."""

    _MAX_REMEMBERED_LINES = 1000

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_REPEATING):
            return True
        # The text before its values are put in.
        said, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._next.get(said, 0.0):
            return False
        if len(self._next) >= self._MAX_REMEMBERED_LINES:
            self._next.clear()
        self._next[said] = now + _REPEAT_SECONDS
        return True


class _Stderr(logging.Handler):
    """Writes to whatever stderr is now, as the last-resort handler of `logging` does; a closed one loses the line."""

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self.as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(masked(self.format(record)) + "\n")
        except Exception:  # noqa: BLE001 - a handler must not raise into the code that logs
            self.handleError(record)


class EventLog:
    """Logs one event at level info, which may come thousands of times a second, at a fraction of a logger's cost."""

    def __init__(self, name: str, event: str) -> None:
        self._log = get_logger(name)
        self._event = event

    def write(self, fields: Mapping[str, Any]) -> None:
        """Log the event with these fields."""
        root = logging.getLogger()
        if root.level > logging.INFO:
            return
        if not any(isinstance(handler, _Stderr) and handler.as_json for handler in root.handlers):
            self._log.info(self._event, **fields)
            return
        # What the processors of `configure` make of it.
        at = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
        line = {**_bounded(None, "", dict(fields)), "event": self._event, "level": "info", "timestamp": at}
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(masked(dumps(line, default=_plain)) + "\n")


def _before_rendering() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _bounded,
    ]


def _bounded(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut every field that is too long, whatever it holds."""
    for name, value in event.items():
        if isinstance(value, str):
            if len(value) * 4 > _MAX_FIELD_BYTES:
                event[name] = cut(value, _MAX_FIELD_BYTES)
        elif isinstance(value, dict | list | tuple | set | frozenset) and name not in _OF_STRUCTLOG:
            said = dumps(value, default=_plain) if isinstance(value, dict | list | tuple) else str(value)
            if len(said) > _MAX_FIELD_BYTES:
                event[name] = cut(said, _MAX_FIELD_BYTES)
        elif isinstance(value, bytes | BaseException):
            event[name] = cut(str(value), _MAX_FIELD_BYTES)
    if event.get("exc_info") and event.get("_record") is not None and event["_record"].name == "asyncio":
        # It says the exception's text again, in the representation of the task.
        event["event"] = str(event.get("event", "")).partition("\n")[0]
    return event


_OF_STRUCTLOG = frozenset({"exc_info", "_record", "_from_structlog"})


def _hand_over(logger: Any, name: str, event: structlog.typing.EventDict) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """To our own handler as fields, or to whatever handlers the program has as one line of text."""
    if any(isinstance(handler, _Stderr) for handler in logging.getLogger().handlers):
        return structlog.stdlib.ProcessorFormatter.wrap_for_formatter(logger, name, event)
    # A program's own handlers write exceptions as they are: how it logs is its own affair.
    options = {"exc_info": event.pop("exc_info", None), "stack_info": event.pop("stack", None) is not None}
    fields = " ".join(f"{key}={value!r}" for key, value in event.items() if key not in _KNOWN_OTHERWISE)
    return (f"{event['event']} {fields}".strip(),), options


_KNOWN_OTHERWISE = frozenset({"event", "level", "timestamp"})


def _rendering(*, as_json: bool, texts: bool) -> Sequence[structlog.typing.Processor]:
    """How records are written; `texts`: exceptions with all that they say, which may be what callers sent."""
    if as_json:
        exceptions = structlog.processors.format_exc_info if texts else structlog.processors.ExceptionRenderer(_raised)
        return (exceptions, structlog.processors.JSONRenderer(default=_plain))
    return (
        structlog.dev.ConsoleRenderer(
            colors=_is_terminal() and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback if texts else _write_raised,
        ),
    )


def _raised(exc_info: structlog.typing.ExcInfo) -> str:
    return raised(exc_info[1])


def _write_raised(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    out.write("\n" + raised(exc_info[1]))


def _plain(value: Any) -> str:
    return str(value)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
