"""`profiles`: the profiles of the user's file. They are read by `backburner.settings.profile`, and written by hand."""

import typer

from backburner.cli import arguments, command
from backburner.cli.session import Session
from backburner.cli.terminal import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, profiles)


def profiles(session: Session, *, json: arguments.Json = False) -> None:
    """List profiles, with their queue and store; no other of their settings is shown.

    The one that is in use has a star.
    """
    from backburner.settings.addresses import shown
    from backburner.settings.profile import chosen_profile, profile_file, read_profiles

    found = read_profiles()
    used = chosen_profile(session.profile)
    rows = []
    for one in found:
        queue, store = (shown(str(one.values.get(name, ""))) for name in ("queue_url", "store_url"))
        in_use = used is not None and one.name == used.name
        if json:
            show.out_json({"profile": one.name, "in_use": in_use, "queue_url": queue, "store_url": store})
        rows.append(("*" if in_use else "", one.name, queue or "-", store or "-"))
    if rows and not json:
        shown_rows = [tuple(show.printable(cell) for cell in row) for row in rows]
        show.table(("", "PROFILE", "QUEUE", "STORE"), shown_rows, right=frozenset())
    elif not rows:
        show.say(f"there are no profiles; {profile_file()} is where they are written")
