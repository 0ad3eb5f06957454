"""Every BACKBURNER_… name of every part, in one list, so that each part accepts the others' and refuses typing errors.

A test holds this list against the settings classes. A name of before is refused with the one that it has now.
"""

import difflib
import re
from collections.abc import Collection, Iterable

from backburner_schemas.errors import SettingsError

PREFIX = "BACKBURNER_"

SETTING_NAMES: frozenset[str] = frozenset(
    PREFIX + name
    for name in (
        # where things are
        "PROFILE",
        "QUEUE_URL",
        "STORE_URL",
        "STORE_ENDPOINT",
        "STORE_CA_FILE",
        "PREFIX",
        "POOL",
        "TENANT",
        "ALLOWED_TENANTS",
        "MAX_BODY_BYTES",
        "LOG_LEVEL",
        # Kafka
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_SECURITY_MECHANISM",
        "KAFKA_SECURITY_USERNAME",
        "KAFKA_SECURITY_PASSWORD",
        "KAFKA_SECURITY_CA_FILE",
        "KAFKA_SECURITY_CERT_FILE",
        "KAFKA_SECURITY_KEY_FILE",
        "KAFKA_SECURITY_PASSWORD_FILE",
        "KAFKA_SECURITY_TOKEN_PROVIDER",
        "KAFKA_SECURITY_TOKEN_FILE",
        "KAFKA_SECURITY_TOKEN_URL",
        "KAFKA_SECURITY_CLIENT_ID",
        "KAFKA_SECURITY_CLIENT_SECRET",
        "KAFKA_SECURITY_CLIENT_SECRET_FILE",
        "KAFKA_SECURITY_SCOPE",
        "KAFKA_SECURITY_TOKEN_CA_FILE",
        "KAFKA_SECURITY_EXTENSIONS",
        "KAFKA_SESSION_SECONDS",
        "KAFKA_LEAVE_GROUP",
        "KAFKA_REBALANCE_SECONDS",
        "KAFKA_IDEMPOTENCE",
        "TOPIC_PARTITIONS",
        "TOPIC_REPLICATION",
        "TOPIC_RETENTION_SECONDS",
        # SQS
        "SQS_VISIBILITY_SECONDS",
        "SQS_WAIT_SECONDS",
        # the gateway
        "GATEWAY_LISTEN_HOST",
        "GATEWAY_LISTEN_PORT",
        "GATEWAY_ROOT_PATH",
        "GATEWAY_KEEP_ALIVE_SECONDS",
        "GATEWAY_ANSWER_SECONDS",
        "GATEWAY_MAX_CALLS",
        "GATEWAY_MAX_UPLOADS",
        "GATEWAY_MAX_FILE_BYTES",
        "GATEWAY_MAX_BATCH_REQUESTS",
        "GATEWAY_FILE_SECONDS",
        "GATEWAY_SWEEP_SECONDS",
        # who may call the gateway, and how much of it
        "OIDC_ISSUER",
        "OIDC_AUDIENCE",
        "OIDC_TENANT_CLAIM",
        "OIDC_ALGORITHMS",
        "OIDC_LEEWAY_SECONDS",
        "OIDC_KEYS_SECONDS",
        "OIDC_STALE_SECONDS",
        "OIDC_CA_FILE",
        "OIDC_ALLOW_HTTP",
        "GATEWAY_ANONYMOUS_TENANT",
        "GATEWAY_REPLICAS",
        "QUOTAS_FILE",
        # the dispatcher
        "DISPATCH_BACKLOG",
        "DISPATCH_JOBS",
        "DISPATCH_SPOOL_BYTES",
        "DISPATCH_CLAIM_SECONDS",
        "DISPATCH_LOOK_SECONDS",
        # the worker
        "ENGINE",
        "MODEL",
        "SERVED_NAME",
        "ENGINE_ARGS",
        "ENGINE_STALL_SECONDS",
        "ADAPTERS",
        "COMPILE_CACHE_DIR",
        "ENGINE_URLS",
        "ENGINE_TOKEN_FILE",
        "ENGINE_CA_FILE",
        "ENGINE_CERT_FILE",
        "ENGINE_KEY_FILE",
        "ENGINE_HTTP_START_SECONDS",
        "ENGINE_HTTP_ANSWER_SECONDS",
        "ALLOWED_PARAMETERS",
        "ALLOWED_MEDIA_DOMAINS",
        "WORKER_ID",
        "WORKER_GROUP",
        "POOL_WAIT_SECONDS",
        "MODEL_SOURCE",
        "MODEL_CHECKSUM",
        "MODEL_ENDPOINT",
        "RECLAIM_NOTICES",
        "NODE_NAME",
        "WORKER_RELEASE",
        "HTTP_HOST",
        "HTTP_PORT",
        "DRAIN_SECONDS",
        "FREEZE_GRACE_SECONDS",
        "CANCEL_POLL_SECONDS",
        "SWEEP_SECONDS",
        "SEGMENT_MAX_BYTES",
        "SEGMENT_MAX_RECORDS",
        "SEGMENT_MIN_AGE_SECONDS",
        "SEGMENT_MAX_AGE_SECONDS",
        "CONCURRENCY",
        "PREFETCH",
        "PREFETCH_BYTES",
        "LANE_WEIGHTS",
        "MAX_ATTEMPTS",
        "RETRY_BASE_SECONDS",
        "RETRY_MAX_SECONDS",
        "RESULT_CACHE_SECONDS",
        "MODEL_VERSION",
        "LOG_PROMPTS",
        "FAKE_LOAD_SECONDS",
        "FAKE_LATENCY_SECONDS",
        "FAKE_PACE",
        "FAKE_FAILURE_RATIO",
        "FAKE_PROCESS",
        "FAKE_JOURNAL",
    )
)

RENAMED_SETTINGS: dict[str, str] = {
    "PARAMETERS_ALLOWED": "ALLOWED_PARAMETERS",
    "MEDIA_DOMAINS_ALLOWED": "ALLOWED_MEDIA_DOMAINS",
    "TENANTS_ALLOWED": "ALLOWED_TENANTS",
    "WINDOW": "PREFETCH",
    "WINDOW_BYTES": "PREFETCH_BYTES",
    "MARKER_SECONDS": "CANCEL_POLL_SECONDS",
    "GROUP": "WORKER_GROUP",
}
"""Old names and the new ones, all without the prefix."""
_RENAMED_VARIABLES = {PREFIX + old: PREFIX + new for old, new in RENAMED_SETTINGS.items()}

_PASSED_OVER_PREFIX = PREFIX + "TEST_"
_SERVICE_LINK = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def check_environment(names: Iterable[str]) -> None:
    """Raise `SettingsError` for a BACKBURNER_… name that no part knows: with its new name, or else the nearest one.

    `BACKBURNER_TEST_…` and the links that Kubernetes makes for services (`…_SERVICE_HOST`, `…_PORT`, `…_PORT_80_TCP`)
    are passed over. Settings are read whatever the case of their names, so an old name is refused in any.
    """
    for name in sorted(names):
        if (new := _RENAMED_VARIABLES.get(name.upper())) is not None:
            raise _renamed(name, new)
        if name.startswith(PREFIX) and name not in SETTING_NAMES and not _passed_over(name):
            near = difflib.get_close_matches(name, SETTING_NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists all of them"
            raise SettingsError(f"{name} is not a setting of Backburner; {hint}")


def check_arguments(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `SettingsError` for a keyword argument that is not known: with its new name, or else the nearest one."""
    for name in names:
        if (new := RENAMED_SETTINGS.get(name.upper())) is not None:
            raise _renamed(name, new.lower())
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting that can be given here; {hint}")


def _renamed(old: str, new: str) -> SettingsError:
    return SettingsError(f"{old} is now {new}; rename it")


def _passed_over(name: str) -> bool:
    return name.startswith(_PASSED_OVER_PREFIX) or _SERVICE_LINK.fullmatch(name) is not None
