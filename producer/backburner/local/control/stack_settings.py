"""The settings of the embedded stack, as `BACKBURNER_…` names: those that its parts and its users' commands take."""

import os
from collections.abc import Mapping

from backburner.local.engine_args import ServedModel
from backburner.local.model import default_cache_dir
from backburner.local.options import UpOptions
from backburner.local.programs.broker import Broker
from backburner.local.programs.emulator import Emulator
from backburner.local.programs.ports import LOOPBACK
from backburner.local.programs.store import RESULTS_BUCKET, Store
from backburner_schemas.errors import SettingsError
from backburner_schemas.routing import pool_name

DRAIN = "BACKBURNER_DRAIN_SECONDS"
_DRAIN_SECONDS = 15.0
_INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"

# Settings of the user's that would lead the stack's parts away from it, or make all workers the same member.
_NOT_FOR_PARTS = ("BACKBURNER_WORKER_ID", "BACKBURNER_ENGINE_ARGS", "BACKBURNER_KAFKA_SECURITY_")

_EMBEDDED = {
    # A profile of the user's is of another deployment.
    "BACKBURNER_PROFILE": "",
    "BACKBURNER_HTTP_HOST": LOOPBACK,
    # Every worker that is started by hand takes a free port, so that any number can run side by side.
    "BACKBURNER_HTTP_PORT": "0",
    # A dispatcher that was killed holds its jobs no longer than this.
    "BACKBURNER_DISPATCH_CLAIM_SECONDS": "10",
}
_EMBEDDED_KAFKA = {
    # The embedded broker offers no producer ids, is one server, and shares one machine with everything else.
    "BACKBURNER_KAFKA_IDEMPOTENCE": "false",
    "BACKBURNER_TOPIC_PARTITIONS": "8",
    "BACKBURNER_TOPIC_REPLICATION": "1",
    # Two members that leave at the same time leave a ghost behind on this broker, and the group stands still for ever.
    "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
    # A worker that was killed holds its partitions no longer than this. Half of it is how long this broker waits for
    # further members at each join, so that the one in its place finds it gone at once where this is short.
    "BACKBURNER_KAFKA_SESSION_SECONDS": "3",
}
_EMBEDDED_SQS = {
    # What a worker held that was killed comes back after this.
    "BACKBURNER_SQS_VISIBILITY_SECONDS": "30",
    # A worker that is stopped waits for its last poll of the queues.
    "BACKBURNER_SQS_WAIT_SECONDS": "2",
}


def stack_settings(options: UpOptions, store: Store, queue: Broker | Emulator, model: ServedModel) -> dict[str, str]:
    """The settings that every command needs to work with a stack of these parts."""
    settings = {
        "BACKBURNER_QUEUE_URL": queue.url,
        "BACKBURNER_STORE_URL": f"s3://{RESULTS_BUCKET}/main",
        "BACKBURNER_STORE_ENDPOINT": store.endpoint,
        **store.environment,
        "BACKBURNER_POOL": pool_name(model.name),
        "BACKBURNER_ENGINE": str(options.engine),
        "BACKBURNER_MODEL": model.path,
    }
    if model.engine_args is not None:
        settings["BACKBURNER_ENGINE_ARGS"] = model.engine_args
    return {**settings, **_EMBEDDED, **(_EMBEDDED_SQS if isinstance(queue, Emulator) else _EMBEDDED_KAFKA)}


def own_settings() -> dict[str, str]:
    """The user's own settings, such as a log level, which hold for the stack's parts too."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("BACKBURNER_") and not name.startswith(_NOT_FOR_PARTS)
    }


def drain_seconds(options: UpOptions) -> float:
    """What workers may take to finish: the option, the user's setting, or 15 s."""
    if options.drain_seconds is not None:
        return options.drain_seconds
    text = os.environ.get(DRAIN, "")
    try:
        return float(text) if text else _DRAIN_SECONDS
    except ValueError as error:
        raise SettingsError(f"{DRAIN} is {text!r}; set a number of seconds") from error


def lasting_cache(settings: Mapping[str, str]) -> dict[str, str]:
    """Keeps what torch compiles from `up` to `up`: its own place is among the temporary files that go."""
    if _INDUCTOR_CACHE in os.environ or settings.get("BACKBURNER_COMPILE_CACHE_DIR"):
        return {}
    return {_INDUCTOR_CACHE: str(default_cache_dir().parent / "inductor")}
