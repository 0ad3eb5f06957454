"""The page docs/python.md: the public API of the SDK, from its signatures and docstrings. `docs.py` writes it.

A docstring is Markdown here: a paragraph that is indented is an example, and `Client.submit` becomes a link.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import groupby
from textwrap import dedent

from class_source import ClassSource, alias

import backburner
import backburner.testing
from backburner.jobs.record_lines import RecordLines
from backburner_schemas.errors import BackburnerError
from backburner_schemas.job import Estimate, InputError, Waiting, WaitReason
from backburner_schemas.pool import PoolManifest, WorkerAnnouncement
from backburner_schemas.result import ResponseBody, ResultError, ResultFacts
from backburner_schemas.status import InputErrors, InputTokensDetails, OutputTokensDetails, Usage

HEAD = """\
# Python

Everything that `backburner` exports. What is not on this page is not public and may change.

A program that sends needs the extra `kafka` or `sqs`, one that only reads results needs neither
([Install](local.md#install)).

Every name is imported from `backburner`, as in `from backburner import Client`, unless it says otherwise. Durations are
in seconds, moments in Unix seconds. In the examples `client` is an open `Client`, `job` one of its jobs that has ended,
and `handle` one of its single requests; all of them run in the tests. `await`, `async with` and `async for` belong in
an `async def`, or in a notebook's cell; a program without an event loop takes `SyncClient`. For DataFrames there is
`backburner.frames`: [Notebooks and DataFrames](notebooks.md).
"""

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Clients": ("Client", "SyncClient"),
    "Jobs and single requests": ("Job", "Handle", "SyncJob", "SyncHandle"),
    "What goes in": ("BatchRequest", "Endpoint", "Lane", "SubmitProgress", "SkippedLine", "JobForecast"),
    "What comes out": ("ResultRecord", "JoinedResult", "ResponseBody", "ResultError", "ResultFacts", "RecordLines"),
    "How a job stands": (
        "BatchStatus",
        "JobState",
        "Counts",
        "Usage",
        "InputTokensDetails",
        "OutputTokensDetails",
        "InputErrors",
        "InputError",
        "Waiting",
        "WaitReason",
        "Estimate",
        "Reconciliation",
        "StreamStatus",
    ),
    "What could not be answered": ("DeadLetter", "RedriveResult", "RedrivenJob", "LetterNotSent"),
    "What requests can be sent to": ("PoolStatus", "PoolManifest", "WorkerAnnouncement"),
    "Configuration": ("Settings",),
    "Tests of your own": ("FakeSystem",),
}
"""Where each public name stands; errors have a section of their own."""

PROSE: Mapping[str, str] = {
    "What goes in": """\
A request is a line of an OpenAI batch file: the same object as text, as a dict, or as a `BatchRequest`. Making one of
these raises pydantic's `ValidationError` where a field has a wrong type; what it asks for is checked when it is
submitted.

```python
question = BatchRequest(
    custom_id="question-1",
    url=Endpoint.CHAT,
    body={"model": "fake", "messages": [{"role": "user", "content": "What is the capital of Japan?"}]},
)
job = await client.submit([question])
```""",
    "What could not be answered": "[Dead letters](dead-letters.md) says what they are for.",
    "Configuration": "[Settings](settings.md#every-part) lists the fields. They are written in lower case and without "
    "`BACKBURNER_`: `Client(store_url=…)` sets `BACKBURNER_STORE_URL`.",
}
"""What a section says before its names."""

REACHED: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *(ResponseBody, ResultError, ResultFacts, RecordLines, PoolManifest, WorkerAnnouncement),
        *(Usage, InputTokensDetails, OutputTokensDetails, InputErrors, InputError, Waiting, WaitReason, Estimate),
    )
}
"""What is held by public objects, and is not imported by itself."""

ALIASES = {
    "Source": "backburner.inputs.source",
    "Item": "backburner.inputs.items",
    "Deadline": "backburner.submission.options",
    "Priority": "backburner_schemas.names",
    "EndpointUrl": "backburner_schemas.request",
    "Answer": "backburner.testing.system",
}
"""Names in signatures that stand for other types."""

CONSTRUCTED = {"Client", "SyncClient", "FakeSystem"}
"""What users make with arguments; other objects are handed to them, or are values with the fields that are listed."""


def python_page(generated: str) -> str:
    """The page's text, with that mark as its first lines. Ends the program where a public name is in no section."""
    return "\n".join([generated, HEAD, *_Page().lines()]) + "\n"


class _Page:
    def __init__(self) -> None:
        placed = [name for names in SECTIONS.values() for name in names]
        wanted = {*backburner.__all__, *backburner.testing.__all__, *REACHED} - {*self.errors}
        if sorted(placed) != sorted(wanted):
            sys.exit(f"docs: in scripts/python_reference.py not once in a section: {sorted(wanted ^ {*placed})}")

    @cached_property
    def errors(self) -> dict[str, type[BackburnerError]]:
        """The public errors, in the order of their tree."""
        public = {name: getattr(backburner, name) for name in backburner.__all__}
        return {
            name: public[name]
            for name in _tree(BackburnerError)
            if issubclass(public.get(name, object), BackburnerError)
        }

    @cached_property
    def classes(self) -> dict[str, type]:
        """Every class that has a part of its own on the page."""
        return {name: _class(name) for names in SECTIONS.values() for name in names}

    @cached_property
    def described(self) -> dict[str, ClassSource]:
        """What is said of each."""
        return {
            name: ClassSource.of(kind, constructed=name in CONSTRUCTED, with_fields=name != "Settings")
            for name, kind in self.classes.items()
        }

    def lines(self) -> Iterator[str]:
        """All below the head."""
        for title, names in SECTIONS.items():
            yield f"## {title}\n"
            if title in PROSE:
                yield f"{PROSE[title]}\n"
            for name in names:
                yield from self._class_lines(name)
        yield from self._error_lines()
        yield from self._alias_lines()

    def _class_lines(self, name: str) -> Iterator[str]:
        kind, found = self.classes[name], self.described[name]
        yield f"### `{name}`\n"
        yield from self._prose(inspect.cleandoc(kind.__doc__ or ""), name)
        if name in REACHED:
            yield "It comes with other objects, and is not imported.\n"
        base = next((one.__name__ for one in kind.__mro__[1:] if one.__name__ in self.classes), None)
        if base is not None:
            yield f"It has all that {self._linked(f'`{base}`', name)} has, and:\n"
        if found.constructor:
            yield f"```py\n{found.constructor}\n```\n"
            yield from self._prose(inspect.cleandoc(found.made), name)
        if found.fields:
            for label, text in found.fields.items():
                yield f"- `{label}`: {self._linked(_one_line(text), name)}"
            yield ""
        seen = {one: parts for one, parts in found.methods.items() if parts[1].startswith("See `")}
        for method, (signatures, text) in seen.items():
            returned = " or ".join(dict.fromkeys(one.rpartition(" -> ")[2] for one in signatures))
            yield f"- `{method}(…) -> {returned}`: {self._linked(_lowered(_one_line(text)), name)}"
        if seen:
            yield ""
        for method, (signatures, text) in found.methods.items():
            if method not in seen:
                yield f"#### `{name}.{method}`\n"
                yield "```py\n" + "\n".join(signatures) + "\n```\n"
                yield from self._prose(text, f"{name}.{method}")

    def _error_lines(self) -> Iterator[str]:
        yield "## Errors\n"
        yield "All are kinds of `BackburnerError`, and have `.message`, the stable `.code`, and in `.param` the field"
        yield "or option at fault, or None. [Errors](errors.md) says of each what happened and what to do.\n"
        yield "| class | is a | code | has beside |"
        yield "| --- | --- | --- | --- |"
        for name, kind in self.errors.items():
            own = ClassSource.of(kind).fields if kind.__module__ != BackburnerError.__module__ else {}
            more = " ".join(f"`.{label}`: {_one_line(text)}" for label, text in own.items())
            base = next((one for one in kind.__mro__[1:] if one.__name__ in self.errors and one.__name__ != name), None)
            parent = f"`{base.__name__}`" if base is not None else "`Exception`"
            yield f"| `{name}` | {parent} | `{kind.code}` | {more.replace('|', chr(92) + '|')} |"
        yield ""

    def _alias_lines(self) -> Iterator[str]:
        yield "## Words in signatures\n"
        yield "They are not imported: a caller passes what they stand for.\n"
        yield "| word | stands for | |"
        yield "| --- | --- | --- |"
        for name, home in ALIASES.items():
            value, text = alias(home, name)
            yield f"| `{name}` | `{value.replace('|', chr(92) + '|')}` | {self._linked(_one_line(text), name)} |"

    def _prose(self, text: str, here: str) -> Iterator[str]:
        """A docstring's text, its links made; what is indented by four is an example."""
        for is_example, found in groupby(_marked(text), key=lambda line: line[0]):
            part = "\n".join(line for _, line in found).strip("\n")
            if is_example:
                yield f"```python\n{dedent(part)}\n```\n"
            elif part:
                yield f"{self._linked(part, here)}\n"

    def _linked(self, text: str, here: str) -> str:
        """The text with links to what it names on this page, and to other pages."""

        def link(found: re.Match[str]) -> str:
            name = found[1]
            owner, _, member = name.partition(".")
            if name == here or owner not in self.classes:
                return found[0]
            if member and (member not in self.described[owner].methods or owner == here):
                return found[0]
            return f"[`{name}`](#{name.replace('.', '').lower()})"

        text = re.sub(r"`([A-Z]\w+(?:\.\w+)?)`", link, text)
        return re.sub(r"\bdocs/([\w/-]+\.(?:md|json))", lambda found: f"[{found[1]}]({found[1]})", text)


def _tree(kind: type[BackburnerError]) -> Iterator[str]:
    """Names of the class and all below it, each once."""
    yield from dict.fromkeys([kind.__name__, *(name for below in kind.__subclasses__() for name in _tree(below))])


def _marked(text: str) -> Iterator[tuple[bool, str]]:
    """Each line with whether it is of an example; a blank line is of what follows it."""
    blank = 0
    for line in text.splitlines():
        if not line.strip():
            blank += 1
            continue
        is_example = line.startswith("    ")
        yield from [(is_example, "")] * blank
        blank = 0
        yield is_example, line


def _class(name: str) -> type:
    if name in REACHED:
        return REACHED[name]
    kind: type = getattr(backburner.testing if name in backburner.testing.__all__ else backburner, name)
    return kind


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
