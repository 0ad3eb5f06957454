"""A broker of Apache Kafka with a listener for each way to sign in, behind TLS, and with rules about who may do what.

The users are `worker`, `producer` and `bootstrap`, by whichever way they come in: a password, the common name of a
certificate, the subject of a token. The plain listener is the administrator's, who may do all. What signs certificates
and tokens is the caller's.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterConfigsRequest, CreateAclsRequest, DeleteAclsRequest

from apache_kafka.broker import ApacheKafka
from apache_kafka.cluster import run_tool
from apache_kafka.configuration import PLAIN, Configuration, Listener
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner_schemas.errors import QueueError

USERS = ("worker", "producer", "bootstrap")
REAUTHENTICATED_SECONDS = 3.0
"""How long a connection to the listener BRIEF lives: Kafka ends it then, unless the client signs in again on it."""
_TOKENS_LIVE_MS = 3_600_000
_LOGIN = "org.apache.kafka.common.security"
_TOKEN_URLS = "org.apache.kafka.sasl.oauthbearer.allowed.urls"  # noqa: S105 - a property of Java
_CHANGE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_LITERAL_CODE, _PREFIXED_CODE = 3, 4
_ALLOW_CODE = 3
_BROKER_CODE = 4


class Way(StrEnum):
    """A listener, by how one signs in there."""

    SCRAM = "SCRAM"
    """SASL_SSL with SCRAM-SHA-512."""
    BRIEF = "BRIEF"
    """The same, with connections that Kafka ends after `REAUTHENTICATED_SECONDS`."""
    MUTUAL = "MUTUAL"
    """SSL with a client's certificate."""
    OAUTH = "OAUTH"
    """SASL_SSL with OAUTHBEARER; a connection lives as long as its token."""


class Kind(IntEnum):
    """What a rule is about; Kafka's own numbers."""

    TOPIC = 2
    GROUP = 3


class Operation(IntEnum):
    """What may be done; Kafka's own numbers."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """What one user may do on one topic or group, or on all whose names begin so."""

    user: str
    operation: Operation
    kind: Kind
    name: str
    prefix: bool = False

    @property
    def words(self) -> tuple[int, str, int, str, str, int]:
        """As Kafka's protocol has it, but for the last word: whether that is allowed or denied."""
        pattern = _PREFIXED_CODE if self.prefix else _LITERAL_CODE
        return self.kind, self.name, pattern, f"User:{self.user}", "*", self.operation


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Whose tokens the broker takes."""

    keys: Path
    """JSON file with the issuer's public keys."""
    issuer: str
    audience: str


class SecureKafka:
    """One broker. Clients are sent to `fronts`, ports where proxies listen, if somebody started them."""

    def __init__(
        self, folder: Path, leases: PortLeases, *, key_store: Path, trust: Path, tokens: TokenRules, password: str
    ) -> None:
        """`key_store` is the broker's key and certificate in one PEM file, `trust` the authority of its clients'.

        `password` is what each user has at first. Raises as `ApacheKafka` does.
        """
        self.ports = {way: leases.take() for way in Way}
        self.fronts = {way: leases.take() for way in Way}
        protocols = {way: "SSL" if way is Way.MUTUAL else "SASL_SSL" for way in Way}
        listeners = (
            Listener(PLAIN, leases.take()),
            *(Listener(way, self.ports[way], protocols[way], advertised=self.fronts[way]) for way in Way),
        )
        keys = tokens.keys.absolute().as_uri()
        self.broker = ApacheKafka(
            folder,
            Configuration(
                folder.absolute() / "data",
                listeners,
                {1: leases.take()},
                more=_properties(key_store, trust, tokens, keys),
            ),
            jvm=(f"-D{_TOKEN_URLS}={keys}",),
            format_options=[
                word for user in USERS for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
            ],
        )

    @property
    def admin(self) -> str:
        """Bootstrap server of the administrator."""
        return self.broker.bootstrap

    def change_password(self, user: str, password: str) -> None:
        """The old one is worth nothing from now on, for new connections. Takes 2 s; from any thread."""
        run_tool(
            self.admin,
            "ConfigCommand",
            *("--alter", "--entity-type", "users", "--entity-name", user),
            *("--add-config", f"SCRAM-SHA-512=[password={password}]"),
        )

    async def change_key_store(self, way: Way, key_store: Path) -> None:
        """New connections to that listener get another certificate of the broker's. Takes some seconds."""
        name = f"listener.name.{way.lower()}.ssl.keystore.location"
        await self._ask(AlterConfigsRequest([(_BROKER_CODE, "1", [(name, str(key_store))])]))
        await asyncio.to_thread(self._until_shown, way, key_store)

    def _until_shown(self, way: Way, key_store: Path) -> None:
        wanted, until = key_store.read_text(), time.monotonic() + _CHANGE_SECONDS
        while ssl.get_server_certificate((LOOPBACK, self.ports[way])).strip() not in wanted:
            if time.monotonic() > until:
                raise QueueError(f"the listener {way} did not change its certificate in {_CHANGE_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    async def allow(self, *rules: Rule) -> None:
        """Add these rules."""
        await self._ask(*(CreateAclsRequest(*rule.words, _ALLOW_CODE) for rule in rules))

    async def forbid(self, *rules: Rule) -> None:
        """Take these rules back."""
        await self._ask(*(DeleteAclsRequest(*rule.words, _ALLOW_CODE) for rule in rules))

    async def _ask(self, *requests: object) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.admin)
        try:
            await admin.start()
            for request in requests:
                answer = await admin._send_request_to_node(1, request)  # noqa: SLF001 - there is no public way
                for found in next(value for value in answer.to_object().values() if isinstance(value, list)):
                    if found["error_code"]:
                        raise QueueError(f"Apache Kafka refused {type(request).__name__}: {found}")
        finally:
            await admin.close()


def _properties(key_store: Path, trust: Path, tokens: TokenRules, keys: str) -> Mapping[str, object]:
    found: dict[str, object] = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": key_store,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": trust,
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]*).*$/$1/,DEFAULT",
        "listener.name.mutual.ssl.client.auth": "required",
        # Each thread of a listener takes a new certificate by itself, one after the other.
        "num.network.threads": 1,
    }
    for way in (Way.SCRAM, Way.BRIEF):
        listener = f"listener.name.{way.lower()}"
        found[f"{listener}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        found[f"{listener}.scram-sha-512.sasl.jaas.config"] = f"{_LOGIN}.scram.ScramLoginModule required;"
    brief = "listener.name.brief.scram-sha-512.connections.max.reauth.ms"
    oauth = "listener.name.oauth.oauthbearer"
    return {
        **found,
        brief: int(REAUTHENTICATED_SECONDS * 1000),
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{oauth}.sasl.jaas.config": f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required;",
        f"{oauth}.sasl.server.callback.handler.class": f"{_LOGIN}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        f"{oauth}.connections.max.reauth.ms": _TOKENS_LIVE_MS,
        "listener.name.oauth.sasl.oauthbearer.jwks.endpoint.url": keys,
        "listener.name.oauth.sasl.oauthbearer.expected.issuer": tokens.issuer,
        "listener.name.oauth.sasl.oauthbearer.expected.audience": tokens.audience,
        f"{oauth}.sasl.oauthbearer.jwks.endpoint.url": keys,
        f"{oauth}.sasl.oauthbearer.expected.issuer": tokens.issuer,
        f"{oauth}.sasl.oauthbearer.expected.audience": tokens.audience,
    }


@contextmanager
def start(
    folder: Path,
    *,
    key_store: Path,
    trust: Path,
    tokens: TokenRules,
    password: str = "secret",  # noqa: S107 - a test's
) -> Iterator[SecureKafka]:
    """A running broker with its data in that folder. Raises as `SecureKafka` and its broker's `start` do."""
    with PortLeases() as leases:
        secure = SecureKafka(folder, leases, key_store=key_store, trust=trust, tokens=tokens, password=password)
        secure.broker.start()
        try:
            yield secure
        finally:
            secure.broker.kill()
