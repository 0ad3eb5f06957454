"""`bootstrap`: what an installation needs before its first request, as a Job of the cluster makes it."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from backburner.cli import arguments, command
from backburner.cli.session import Session
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity

if TYPE_CHECKING:
    from backburner.bootstrap import StoredKey

_WAIT = timedelta(minutes=5)
_MAX_SECRET_CHARACTERS = 253
_SECRET_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command.add(app, bootstrap)


async def bootstrap(
    session: Session,
    *,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Make the pool of this base model, by its served name; may be repeated."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL=NAME", help="Another name that requests may have for one of these models; may be repeated."
        ),
    ] = None,
    admin_key_secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Put an API key with the scope admin into this Secret of the pod's namespace."
        ),
    ] = None,
    wait: Annotated[
        timedelta | None,
        typer.Option(
            parser=arguments.parse_span,
            metavar="TIME",
            show_default="5m",
            help="How long to wait for what does not answer yet: queue, object store, Kubernetes' API.",
        ),
    ] = None,
    json: arguments.Json = False,
) -> None:
    """Make pools with their topics and the first API key, where they are missing.

    Safe to repeat. It runs in a pod; only --admin-key-secret needs the cluster's API.
    """
    import os
    from contextlib import AsyncExitStack

    from backburner.bootstrap import Bootstrap
    from backburner.kubernetes import KubernetesApi

    models = _models(pool or ())
    aliases = _aliases(models, alias or ())
    if admin_key_secret is not None and not _is_secret_name(admin_key_secret):
        raise typer.BadParameter(f"--admin-key-secret {admin_key_secret!r} cannot name a Secret")
    if not models and admin_key_secret is None:
        raise typer.BadParameter("there is nothing to make; pass --pool MODEL or --admin-key-secret NAME")
    async with AsyncExitStack() as stack:
        cluster = None
        if admin_key_secret is not None:
            # Before anything is made, so that a pod that cannot keep the key says so at once.
            cluster = await stack.enter_async_context(KubernetesApi.in_cluster(os.environ))
        run = Bootstrap(session.settings(), session.open_storage(), wait_seconds=(wait or _WAIT).total_seconds())
        for model in models:
            with Activity(f"preparing the pool of {model}"):
                made = await run.prepare_pool(model, aliases[model])
            if json:
                show.out_json(
                    {
                        "pool": made.manifest.pool,
                        "model": model,
                        "aliases": made.manifest.aliases,
                        "topics": made.topics,
                    }
                )
                continue
            show.out(f"pool {made.manifest.pool}")
            for topic in made.topics:
                show.out(f"topic {topic}")
        if cluster is not None and admin_key_secret is not None:
            with Activity(f"preparing the Secret {admin_key_secret}"):
                stored = await run.store_admin_key(cluster, admin_key_secret)
            _show_key(stored, json=json)


def _show_key(stored: "StoredKey", *, json: bool) -> None:
    import math
    import time

    from backburner.bootstrap import DATA_KEY

    key = stored.key
    where = f"{stored.namespace}/{stored.secret}"
    if json:
        show.out_json({"secret": stored.secret, "namespace": stored.namespace, "key": key.id if key else None})
    else:
        show.out(f"secret {where}")
    if key is None:
        show.warn(f"the Secret {where} holds no API key under {DATA_KEY}; delete it, and run the same again for one")
    elif key.revoked_at is not None or (key.expires_at or math.inf) <= time.time():
        show.warn(
            f"{key.id} of the Secret {where} was revoked or has expired; delete the Secret, and run the same again for "
            "a new one"
        )
    elif stored.is_new:
        show.say(f"made {key.id} of tenant {key.tenant}")
    else:
        show.say(f"{key.id} of tenant {key.tenant} is there")


def _models(given: Sequence[str]) -> list[str]:
    from backburner_schemas.names import is_model_name

    for model in given:
        if not is_model_name(model):
            raise typer.BadParameter(
                f"--pool {model!r} is not a model's name; pass the name that requests have in body.model"
            )
    return list(dict.fromkeys(given))


def _aliases(models: Sequence[str], given: Sequence[str]) -> Mapping[str, list[str]]:
    """The other names of each model. The model is one of those that are made, so a name may have a `=` in it."""
    found: dict[str, list[str]] = {model: [] for model in models}
    for text in given:
        of = max((model for model in models if text.startswith(f"{model}=")), key=len, default=None)
        if of is None or not text.removeprefix(f"{of}="):
            raise typer.BadParameter(f"--alias {text!r} is not of the form MODEL=NAME, with the MODEL of a --pool")
        found[of].append(text.removeprefix(f"{of}="))
    return found


def _is_secret_name(text: str) -> bool:
    return len(text) <= _MAX_SECRET_CHARACTERS and _SECRET_NAME.fullmatch(text) is not None
