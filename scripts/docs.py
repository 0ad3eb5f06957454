"""Writes the generated pages under docs/: schemas of the wire, Python, settings, errors. `--check` only compares.

    python scripts/docs.py [--check]

Exit status 1 from `--check` means that a page is stale; `make docs` writes it anew.
"""

import argparse
import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import wire_documents
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from python_reference import python_page

from backburner.dispatcher.settings import DispatcherSettings, DispatchSettings
from backburner.gateway.api import routes
from backburner.gateway.auth.settings import AuthSettings
from backburner.gateway.limits.settings import LimitSettings
from backburner.gateway.settings import GatewayServiceSettings, GatewaySettings
from backburner.settings.connection import ConnectionSettings
from backburner.settings.jobs import JobSettings
from backburner.settings.kafka import KafkaSettings
from backburner.settings.logs import LogSettings
from backburner.settings.process import ProcessSettings
from backburner.settings.profile import ProfileSettings
from backburner.settings.quotas import QuotaSettings
from backburner.settings.topics import TopicSettings
from backburner_schemas.body_fields import FIELDS, HARMLESS_FIELDS
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import BackburnerError
from backburner_schemas.request import MAX_CONTAINERS, BatchRequest, Endpoint
from backburner_schemas.result import ResponseBody, ResultError, ResultFacts, ResultRecord
from backburner_schemas.setting_names import PREFIX
from backburner_worker.reclaim.settings import ReclaimSettings
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import NEVER, NEVER_PREFIXES
from backburner_worker.settings import WorkerSettings
from backburner_worker.settings.engine import EngineSettings
from backburner_worker.settings.engine_http import EngineHttpSettings
from backburner_worker.settings.fake_engine import FakeEngineSettings
from backburner_worker.settings.feeding import FeedingSettings
from backburner_worker.settings.identity import IdentitySettings
from backburner_worker.settings.kafka import KafkaMemberSettings
from backburner_worker.settings.messages import MessageSettings
from backburner_worker.settings.model_source import ModelSourceSettings
from backburner_worker.settings.requests import RequestSettings
from backburner_worker.settings.result_cache import ResultCacheSettings
from backburner_worker.settings.retries import RetrySettings
from backburner_worker.settings.segments import SegmentSettings
from backburner_worker.settings.sqs import SqsSettings
from backburner_worker.settings.sweep import SweepSettings

DOCS = Path(__file__).resolve().parent.parent / "docs"
GENERATED = "<!-- Written by scripts/docs.py from the code: change that, then run `make docs`. -->\n"
EVERY_PART = (ConnectionSettings, JobSettings, LogSettings, KafkaSettings, TopicSettings, ProfileSettings)
GATEWAY = (GatewayServiceSettings, AuthSettings, QuotaSettings, LimitSettings)
EVERY_PROCESS = (ProcessSettings,)
DISPATCHER = (DispatchSettings,)
WORKERS = (
    IdentitySettings,
    EngineSettings,
    ModelSourceSettings,
    RequestSettings,
    MessageSettings,
    FeedingSettings,
    RetrySettings,
    SegmentSettings,
    SweepSettings,
    ResultCacheSettings,
    KafkaMemberSettings,
    SqsSettings,
    EngineHttpSettings,
    ReclaimSettings,
    FakeEngineSettings,
)
"""Groups of settings in the order of the page."""
WIRE = (Envelope, BatchRequest, ResultRecord, ResponseBody, ResultError, ResultFacts)
PLAIN = {str: "text", int: "integer", float: "number", bool: "true or false", SecretStr: "text, kept out of logs"}


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    texts = {model.__name__: field_texts(model) for model in WIRE}
    return {
        DOCS / "schemas" / "envelope.json": as_json(wire_documents.envelope_schema(texts)),
        DOCS / "schemas" / "result.json": as_json(wire_documents.result_schema(texts)),
        DOCS / "asyncapi.json": as_json(wire_documents.asyncapi(texts)),
        DOCS / "openapi.json": as_json(routes().openapi()),
        DOCS / "python.md": python_page(GENERATED),
        DOCS / "settings.md": settings_page(),
        DOCS / "errors.md": errors_page(),
        DOCS / "parameters.md": parameters_page(),
    }


def as_json(document: wire_documents.Document) -> str:
    """Indented JSON that is the same at each run."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a class, its own and inherited ones."""
    texts: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind.__module__.startswith("pydantic"):
            continue
        body = ast.parse(inspect.getsource(kind)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
                case _:
                    pass
    return texts


# --- settings ---------------------------------------------------------------------------------------------


def settings_page() -> str:
    """The settings reference."""
    groups = (*EVERY_PART, *EVERY_PROCESS, *GATEWAY, *DISPATCHER, *WORKERS)
    listed = {name for kind in groups for name in kind.model_fields}
    every = (GatewaySettings, DispatcherSettings, WorkerSettings)
    left_out = {name for kind in every for name in kind.model_fields} - listed
    if left_out:
        sys.exit(f"docs: no group on the page has {', '.join(sorted(left_out))}; add the group to scripts/docs.py")
    return "\n".join(
        [
            GENERATED,
            "# Settings",
            "",
            "Arguments come first, then environment variables, then the defaults below. A `BACKBURNER_…` name that",
            "is not listed here is an error that suggests the nearest one, or names the new one where a setting was",
            "renamed; `BACKBURNER_TEST_…` and the links that Kubernetes makes for services are passed over.",
            "Credentials of object stores come by the providers' own ways (`AWS_…` and the like).",
            "",
            "## Every part",
            "",
            *settings_sections(EVERY_PART),
            "## Worker, gateway and dispatcher",
            "",
            *settings_sections(EVERY_PROCESS),
            "## Gateway",
            "",
            *settings_sections(GATEWAY),
            "## Dispatcher",
            "",
            *settings_sections(DISPATCHER),
            "## Workers",
            "",
            *settings_sections(WORKERS),
        ]
    )


def settings_sections(groups: Iterable[type[BaseModel]]) -> Iterator[str]:
    """A heading, a sentence and a table for each group, as `Heading: sentence.` in its docstring."""
    for group in groups:
        heading, colon, sentence = (inspect.getdoc(group) or "").partition(": ")
        if not colon:
            sys.exit(f"docs: the docstring of {group.__name__} has no heading; begin it with one and a colon")
        yield from (f"### {heading}", "", sentence[:1].upper() + sentence[1:], "")
        yield from (*settings_table(group), "")


def settings_table(group: type[BaseModel]) -> Iterator[str]:
    """One row for each setting that the group has beside those of the groups that it builds on."""
    texts = field_texts(group)
    yield "| variable | takes | default | what it is |"
    yield "| --- | --- | --- | --- |"
    for name in inspect.get_annotations(group):
        field = group.model_fields[name]
        text = texts.get(name)
        if text is None:
            sys.exit(f"docs: {group.__name__}.{name} has no docstring; write one below the field")
        cells = [f"`{PREFIX}{name.upper()}`", takes(field), default(field), text]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def takes(field: FieldInfo) -> str:
    """What values a setting takes, in words."""
    bounds = [f"{word} {limit:g}" for item in field.metadata for word, limit in bound(item)]
    return ", ".join([type_words(field.annotation), *bounds])


def bound(item: Any) -> Iterator[tuple[str, float]]:
    """The bound that a piece of pydantic's metadata sets."""
    match item:
        case Ge(ge=int() | float() as limit):
            yield "from", limit
        case Gt(gt=int() | float() as limit):
            yield "above", limit
        case Le(le=int() | float() as limit):
            yield "up to", limit
        case Lt(lt=int() | float() as limit):
            yield "below", limit


def type_words(annotation: Any) -> str:
    """A type in words."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        # A callable is an argument's alone: no variable can have one.
        inner = [one for one in typing.get_args(annotation) if one is not type(None) and not _is_callable(one)]
        return type_words(*inner)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    return PLAIN.get(annotation, str(annotation))


def _is_callable(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Callable


def default(field: FieldInfo) -> str:
    """The default, as one would write it in the environment."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# --- errors -----------------------------------------------------------------------------------------------


def errors_page() -> str:
    """The error tree with what each error means and what to do."""
    rows = [
        f"| {'&nbsp;&nbsp;' * depth}`{kind.__name__}` | `{kind.code}` | {kind.http_status} "
        f"| {'yes' if kind.retryable else 'no'} | {kind.default_message()} |"
        for depth, kind in tree(BackburnerError)
    ]
    return "\n".join(
        [
            GENERATED,
            "# Errors",
            "",
            "One tree. `code` is stable: match on it in result records (`error.code`), dead letters and HTTP",
            "answers. The text is the default message; an error that knows more says more. Retried means that the",
            "failure may pass by itself.",
            "",
            "| class | code | HTTP | retried | what happened, and what to do |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _body_limits() -> list[tuple[tuple[str, ...], str]]:
    """The fields that are bounded by themselves, and by how much."""
    limits = BodyLimits()
    schema = f"{limits.max_schema_bytes // 1024} KiB"
    words = f"of {limits.max_word_characters:,} characters at most"
    return [
        (("n", "best_of"), f"{limits.max_choices}"),
        (("input", "text_1", "text_2", "queries", "documents", "items", "data_1", "data_2"), f"{limits.max_inputs:,}"),
        (("prompt",), f"{limits.max_prompts}"),
        (("stop",), f"{limits.max_stops} texts {words}"),
        (("bad_words",), f"{limits.max_bad_words} texts {words}"),
        (("stop_token_ids",), f"{limits.max_stop_token_ids:,} tokens"),
        (("allowed_token_ids",), f"{limits.max_allowed_token_ids:,} tokens"),
        (("logit_bias",), f"{limits.max_logit_biases:,} tokens"),
        (("tools",), f"{limits.max_tools} functions, {schema} in all"),
        (("response_format", "structured_outputs"), f"{schema}, {limits.max_schema_depth} levels deep"),
        (("structured_outputs.regex",), f"{limits.max_regex_chars:,} characters"),
        (("chat_template_kwargs",), f"{limits.max_template_arguments} fields, none of them nested"),
    ]


def parameters_page() -> str:
    """The fields that a body may have: those that reach the engine, and those that change nothing."""
    lines = [
        GENERATED,
        "# Parameters",
        "",
        "What the `body` of a request may hold. A field that is on no list here is refused by its name",
        "(`unsupported_parameter`), since engines pass over what they do not know, and the answer would be another one",
        "without a word. A field that is `null` is left out, whatever it is called: SDKs write nulls for what was not",
        "given. `BACKBURNER_ALLOWED_PARAMETERS` lets further fields through to an engine that takes them.",
        "",
        "## What reaches the engine",
        "",
        "| endpoint | fields |",
        "| --- | --- |",
    ]
    for endpoint in Endpoint:
        names = ", ".join(f"`{name}`" for name in sorted(FIELDS[endpoint]))
        lines.append(f"| `{endpoint}` | {names} |")
    lines += [
        "",
        "Tools are functions that the caller runs. Of `/v1/responses`, `input` is a text or a list of messages,",
        "function calls and their outputs, and reasoning; an assistant's message has one part, since engines read no",
        "more of it. `tool_choice` and `parallel_tool_calls` are left out where no tool is given.",
        "",
        "## How much of it",
        "",
        "More is refused by the field's name (`invalid_request`). The request as a whole has",
        f"`BACKBURNER_MAX_BODY_BYTES` at most, and {MAX_CONTAINERS:,} objects and lists (`body_too_complex`).",
        "",
        "| field | at most |",
        "| --- | --- |",
        *(f"| {', '.join(f'`{name}`' for name in names)} | {most} |" for names, most in _body_limits()),
        "",
        "## What changes no answer",
        "",
        "Fields that hosted services and their SDKs know. With these values they are taken and left out; with any",
        "other they are refused, for the answer would have to be another one.",
        "",
        "| field | taken if it is | why |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {field.values} | {field.why} |" for name, field in HARMLESS_FIELDS.items()),
        "",
        "## What is never let through",
        "",
        "These affect more than the one request, so that no setting allows them.",
        "Instead of vLLM's old `guided_…` there are `structured_outputs` and `response_format`.",
        "",
        ", ".join(f"`{name}`" for name in sorted(NEVER)) + ", and all whose names begin with",
        " or ".join(f"`{prefix}`" for prefix in NEVER_PREFIXES) + ".",
        "",
    ]
    return "\n".join(lines)


def tree(kind: type[BackburnerError], depth: int = 0) -> Iterator[tuple[int, type[BackburnerError]]]:
    """The class and all below it, those of schemas alone, in the order in which they are written."""
    yield depth, kind
    for child in kind.__subclasses__():
        if child.__module__ == BackburnerError.__module__:
            yield from tree(child, depth + 1)


def main() -> int:
    """Write or compare the pages; the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated pages under docs/.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"docs: {path.relative_to(DOCS.parent)} is stale; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(f"docs: wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
