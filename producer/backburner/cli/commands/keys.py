"""`keys`: API keys of the gateway, made, listed and revoked by whoever reaches the object store."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backburner.cli import arguments, command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity

if TYPE_CHECKING:
    from backburner.gateway.auth.api_key import ApiKey

_NAME_CHARACTERS = 30


def register(app: typer.Typer) -> None:
    """Add the group."""
    keys = typer.Typer(cls=command.Commands, help="API keys of the gateway.", add_completion=False)
    command.add(keys, create)
    command.add(keys, list_, name="list")
    command.add(keys, revoke)
    app.add_typer(keys, name="keys")


async def create(
    session: Session,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the key is for, to tell it by.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            show_default="batch:read and batch:write",
            help="What it may do: batch:read, batch:write or admin; may be repeated.",
        ),
    ] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(
            parser=arguments.parse_span, metavar="TIME", show_default="never", help="How long it works, such as 90d."
        ),
    ] = None,
    tenant: arguments.Tenant = None,
    json: arguments.Json = False,
) -> None:
    """Make a key and print it. It is shown this once: only its hash is stored."""
    from backburner.gateway.auth.api_key_store import ApiKeyStore
    from backburner.gateway.auth.audit_log import Action

    scopes, label = _scopes(scope), _name(name)
    storage = session.open_storage()
    with Activity("making the key"):
        secret, made = await ApiKeyStore(storage).create(
            _tenant(session, tenant), label, scopes, lifetime=arguments.seconds_of(expires)
        )
        await _record(storage, made, Action.KEY_CREATED)
    if json:
        show.out_json({**_as_json(made), "key": secret})
        return
    show.out(secret)
    show.say(f"{made.id} of tenant {made.tenant}; keep the key now, it is not shown again")


async def list_(
    session: Session,
    *,
    tenant: arguments.Tenant = None,
    all_tenants: Annotated[bool, typer.Option("--all", help="Those of all tenants.")] = False,
    json: arguments.Json = False,
) -> None:
    """List keys by how they begin, revoked and expired ones among them."""
    import time

    from backburner.gateway.auth.api_key_store import ApiKeyStore

    with Activity("reading the keys"):
        found = await ApiKeyStore(session.open_storage()).read(None if all_tenants else _tenant(session, tenant))
    if json:
        for one in found:
            show.out_json(_as_json(one))
    elif found:
        rows = [_row(one, time.time()) for one in found]
        show.table(("ID", "KEY", "TENANT", "NAME", "SCOPES", "CREATED", "STATE"), rows, right=frozenset())
    else:
        show.say("there are no API keys yet; `backburner keys create --name NAME` makes one")


async def revoke(
    session: Session,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    *,
    tenant: arguments.Tenant = None,
) -> None:
    """Revoke a key for good: every gateway refuses it within ten seconds."""
    from backburner.gateway.auth.api_key_store import ApiKeyStore
    from backburner.gateway.auth.audit_log import Action

    storage = session.open_storage()
    with Activity("revoking the key"):
        revoked = await ApiKeyStore(storage).revoke(key_id, tenant)
        await _record(storage, revoked, Action.KEY_REVOKED)
    show.say(f"revoked {revoked.id} of tenant {revoked.tenant}; gateways refuse it within ten seconds")


async def _record(storage: Any, key: "ApiKey", action: Any) -> None:
    from backburner.gateway.auth.audit_log import AuditLog
    from backburner.gateway.auth.principal import Principal

    audit = AuditLog(storage)
    caller = Principal(key.tenant, "command-line", frozenset())
    audit.record(caller, action, key.id, name=key.name, scopes=" ".join(key.scopes))
    await audit.flush()


def _tenant(session: Session, given: str | None) -> str:
    return given if given is not None else session.settings().tenant


def _scopes(given: list[str] | None) -> list[Any]:
    from backburner.gateway.auth.principal import Scope

    known = {one.value: one for one in Scope}
    if not given:
        return [Scope.READ, Scope.WRITE]
    for one in given:
        if one not in known:
            raise typer.BadParameter(f"{one!r} is not a scope; use some of {', '.join(known)}")
    return [known[one] for one in given]


def _name(text: str) -> str:
    from backburner.gateway.auth.api_key import MAX_NAME_CHARACTERS

    if not text.strip() or not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
        raise typer.BadParameter(f"--name must be a text of 1 to {MAX_NAME_CHARACTERS} visible characters")
    return text


def _state(key: "ApiKey", now: float) -> str:
    if key.revoked_at is not None:
        return f"revoked {show.moment(key.revoked_at)}"
    if key.expires_at is None:
        return "active"
    return f"{'expired' if key.expires_at <= now else 'until'} {show.moment(key.expires_at)}"


def _row(key: "ApiKey", now: float) -> tuple[str, ...]:
    return (
        key.id,
        f"{show.printable(key.prefix)}…",
        key.tenant,
        show.cut(key.name, _NAME_CHARACTERS),
        " ".join(show.printable(scope) for scope in key.scopes),
        show.moment(key.created_at),
        _state(key, now),
    )


def _as_json(key: "ApiKey") -> dict[str, Any]:
    return key.model_dump(exclude={"v"})
