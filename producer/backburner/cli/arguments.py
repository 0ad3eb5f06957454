"""The arguments and options that several commands share, and how their text is checked: what is typed is untrusted."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from backburner.cli import completion
from backburner.cli.deadline import parse_deadline, parse_duration
from backburner_schemas.names import PRIORITIES, Lane, is_name
from backburner_schemas.request import MAX_CUSTOM_ID_CHARACTERS

T = TypeVar("T")

_MAX_PAIRS = 16
_MAX_KEY_CHARACTERS = 64
_MAX_VALUE_CHARACTERS = 512


def valid_name(text: str | None) -> str | None:
    """The text, if it can name a tenant or a job. Raises `typer.BadParameter`."""
    if text is not None and not is_name(text):
        raise typer.BadParameter(f"{text!r} is not a valid name; it must match [A-Za-z0-9][A-Za-z0-9._-]* without '..'")
    return text


def _id(text: str) -> str:
    """A job's id, or a handle's, which may have a custom_id of any characters behind its first slash."""
    job, slash, custom_id = text.partition("/")
    if slash and is_name(job) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS:
        return text
    valid_name(text)
    return text


def _judged(judge: Callable[[str], T]) -> Callable[[str], T]:
    """The parser with its own words in the error: typer would replace those of a `ValueError`."""

    def parse(text: str) -> T:
        try:
            return judge(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parse


def _lane(text: str) -> Lane:
    found = next((lane for lane in PRIORITIES if lane == text.lower()), None)
    if found is None:
        raise ValueError(f"{text!r} is not a priority; use one of {', '.join(PRIORITIES)}")
    return found


def metadata_of(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs as metadata, within OpenAI's limits. Raises `typer.BadParameter`."""
    found = dict(_pair(pair, "--metadata") for pair in pairs)
    if len(found) > _MAX_PAIRS:
        raise typer.BadParameter(f"--metadata was given {len(found)} times; the limit is {_MAX_PAIRS} pairs")
    for key, value in found.items():
        if len(key) > _MAX_KEY_CHARACTERS or len(value) > _MAX_VALUE_CHARACTERS:
            raise typer.BadParameter(
                f"--metadata {key[:_MAX_KEY_CHARACTERS]} is too long; keys may have {_MAX_KEY_CHARACTERS} characters, "
                f"values {_MAX_VALUE_CHARACTERS}"
            )
    return found


def parameters_of(pairs: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs as a body's parameters; a value that is JSON is used as such, else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, value = _pair(pair, "--param")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{option} {text!r} is not of the form key=value")
    return key, value


def seconds_of(span: timedelta | None) -> float | None:
    """A time-out in seconds, if there is one."""
    return None if span is None else span.total_seconds()


parse_span = _judged(parse_duration)
"""The parser of every option that takes a duration."""
JobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        callback=valid_name,
        help="The job's id, as `submit` printed it.",
        autocompletion=completion.jobs,
    ),
]
HandleOrJobId = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        callback=_id,
        help="The id that `submit` or `enqueue` printed.",
        autocompletion=completion.jobs,
    ),
]
NewJobId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        callback=valid_name,
        help="The job's id; submitting the same input again under it resumes the job.",
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(metavar="NAME", callback=valid_name, help="The tenant; BACKBURNER_TENANT if not given."),
]
Pool = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Send to this pool, whose workers have to serve the models that are named.",
        autocompletion=completion.pools,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The model; may be left out where there is one pool.", autocompletion=completion.models
    ),
]
BatchModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The model of every request, whatever the lines name.",
        autocompletion=completion.models,
    ),
]
PoolToChange = Annotated[
    str,
    typer.Argument(metavar="POOL", help="The pool's name, or its model's.", autocompletion=completion.pools),
]
parse_lane = _judged(_lane)
"""The parser of every option that takes a lane."""
Priority = Annotated[Lane, typer.Option(parser=parse_lane, metavar="LANE", help=f"One of {', '.join(PRIORITIES)}.")]
Deadline = Annotated[
    Any,  # a timedelta, a datetime or None: typer takes no union of types
    typer.Option(
        parser=_judged(parse_deadline),
        metavar="TIME",
        show_default="24h",
        help="A duration such as 30m, 24h or 7d, or a time such as 2027-01-31T18:00:00Z.",
    ),
]
Stored = Annotated[
    bool,
    typer.Option(
        "--stored", help="Put the requests into the object store, from where a dispatcher sends them in the best order."
    ),
]
Window = Annotated[
    str | None,
    typer.Option(metavar="HH:MM-HH:MM", help="Send only in these hours of each day; needs --stored."),
]
TimeZone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Whose clocks --window goes by, such as Europe/Berlin; UTC if not given."),
]
Timeout = Annotated[
    timedelta | None,
    typer.Option(parser=parse_span, metavar="TIME", help="Wait this long at most, such as 30s or 5m."),
]
Metadata = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Kept with the job; may be repeated.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="NAME=VALUE", help="A parameter of the request, such as max_tokens=64; may be repeated."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the results to this file; - for stdout.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]
