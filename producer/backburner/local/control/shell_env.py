"""The stack's settings for the shell that asks for them, and what it had before, so that it can have that back. Pure.

What was there before travels in a variable of the shell itself: it is there as long as what it undoes, and no longer.
"""

import json
import shlex
from collections.abc import Mapping

BEFORE = "_BACKBURNER_ENV_BEFORE"
"""Not of the form BACKBURNER_…: those are settings, and an unknown one is an error."""


def entering(values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Shell commands that set the values, and note what they take the place of. Once more changes nothing of that."""
    before = before_in(environment) or {}
    # What an earlier stack set and this one does not is put back.
    restored = {name: value for name, value in before.items() if name not in values}
    noted = {name: before[name] if name in before else environment.get(name) for name in values}
    return _assigned({**restored, **values, BEFORE: json.dumps(noted, separators=(",", ":"))})


def leaving(environment: Mapping[str, str]) -> str | None:
    """Shell commands that put back what `entering` noted; None if it noted nothing there."""
    before = before_in(environment)
    return None if before is None else _assigned({**before, BEFORE: None})


def leaving_file(values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Shell commands that unset what a file of these values has set. Nobody knows what was there before."""
    return _assigned({name: None for name, value in values.items() if environment.get(name) == value})


def before_in(environment: Mapping[str, str]) -> dict[str, str | None] | None:
    """What `entering` noted, None for a variable that was not set; nothing for what it cannot have written."""
    try:
        found = json.loads(environment[BEFORE])
    except (KeyError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(name.isidentifier() for name in found):
        return None
    return {name: value if isinstance(value, str) else None for name, value in found.items()}


def _assigned(values: Mapping[str, str | None]) -> str:
    """One command a line, for sh, bash and zsh."""
    return "\n".join(
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}" for name, value in values.items()
    )
