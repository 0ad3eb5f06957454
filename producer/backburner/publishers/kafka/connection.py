"""How every Kafka client of Backburner reaches the broker, from the settings. It opens no client itself."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from backburner.credentials.files import FromFiles, read_secret
from backburner.publishers.kafka.security.attempt import connection_error
from backburner.publishers.kafka.security.passwords import with_password
from backburner.publishers.kafka.security.refusals import explained, is_refusal
from backburner.publishers.kafka.security.scram import have_servers_prove
from backburner.publishers.kafka.security.tls import RenewedContext
from backburner.publishers.kafka.security.tokens import open_tokens
from backburner.settings import Settings
from backburner.settings.kafka import KafkaSecurity
from backburner_schemas.errors import QueueDenied, QueueError, SettingsError

_PASSWORD_FILE = "BACKBURNER_KAFKA_SECURITY_PASSWORD_FILE"  # noqa: S105 - a variable's name
_MECHANISMS = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
_PLAIN = "PLAINTEXT"
ClientT = TypeVar("ClientT")


class KafkaConnection(Mapping[str, Any]):
    """As a mapping, the arguments that lead an aiokafka client to the broker; and what goes on afterwards.

    Each new connection of such a client uses the certificates and the token of its moment; and the password, once it
    went through `following`.
    """

    def __init__(self, arguments: Mapping[str, Any], password: FromFiles[str] | None = None) -> None:
        """`password` is set where it comes from a file, which may change."""
        self._arguments = dict(arguments)
        self._password = password

    def __getitem__(self, name: str) -> Any:
        return self._arguments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)

    def following(self, client: ClientT) -> ClientT:
        """The same client, not started yet: it will sign in with the password that its file has at that moment."""
        return client if self._password is None else with_password(client, self._password)

    async def check(self) -> None:
        """Raise `QueueDenied` if the broker refuses these credentials: a client takes half a minute, and cannot say it.

        Returns for whatever else is wrong, and at once where there are none. Bounded by seconds for each server.
        """
        if self._arguments["security_protocol"] == _PLAIN:
            return
        error = await self._refusal()
        if error is not None and is_refusal(error):
            raise explained(error, self._arguments) from error

    async def failure(self, error: BaseException) -> QueueError:
        """The error to raise when the broker could not be used for that reason.

        A client's own error seldom says why it is not let in: one connection is tried for it, bounded by seconds for
        each server. It is a `QueueDenied` where waiting does not help.
        """
        if isinstance(error, (GroupAuthorizationFailedError, TopicAuthorizationFailedError)):
            return QueueDenied(f"the broker denied the access ({error}); grant this user the rights in docs/kafka.md")
        if is_refusal(error):
            return explained(error, self._arguments)
        return explained(await self._refusal() or error, self._arguments)

    async def refusal(self) -> str | None:
        """Why the broker lets nobody in with these credentials, in one line; None where that is not what is wrong.

        Bounded by seconds for each server.
        """
        if self._arguments["security_protocol"] == _PLAIN:
            return None
        error = await self._refusal()
        return None if error is None or not is_refusal(error) else explained(error, self._arguments).message

    async def _refusal(self) -> BaseException | None:
        arguments = self._arguments
        if self._password is not None:
            arguments = {**arguments, "sasl_plain_password": self._password.current()}
        return await connection_error(arguments)


def kafka_connection(settings: Settings) -> KafkaConnection:
    """What leads an aiokafka client to the broker. Raises `SettingsError` for what cannot be used."""
    queue = settings.queue
    if not queue.servers:
        raise SettingsError(f"BACKBURNER_QUEUE_URL {settings.queue_url!r} is not Kafka's; set kafka://host:port,…")
    security = settings.kafka_security
    protocol = security.protocol.upper()
    if protocol not in {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}:
        raise SettingsError(
            f"BACKBURNER_KAFKA_SECURITY_PROTOCOL {protocol!r} is unknown; "
            "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        )
    arguments: dict[str, Any] = {"bootstrap_servers": list(queue.servers), "security_protocol": protocol}
    if protocol.endswith("SSL"):
        arguments["ssl_context"] = RenewedContext.of(security)
    if not protocol.startswith("SASL"):
        return KafkaConnection(arguments)
    mechanism = arguments["sasl_mechanism"] = security.mechanism.upper()
    if mechanism == "OAUTHBEARER":
        arguments["sasl_oauth_token_provider"] = open_tokens(security.tokens, queue.servers)
        return KafkaConnection(arguments)
    if mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise SettingsError(f"BACKBURNER_KAFKA_SECURITY_MECHANISM {mechanism!r} is unknown; use {_MECHANISMS}")
    have_servers_prove()
    return _with_password(arguments, security)


def _with_password(arguments: dict[str, Any], security: KafkaSecurity) -> KafkaConnection:
    file, given = security.password_file, security.password
    if security.username is None or (given is None and file is None):
        raise SettingsError(
            "SASL needs BACKBURNER_KAFKA_SECURITY_USERNAME, and BACKBURNER_KAFKA_SECURITY_PASSWORD or …_PASSWORD_FILE; "
            "set them"
        )
    arguments["sasl_plain_username"] = security.username
    if file is None:
        assert given is not None
        arguments["sasl_plain_password"] = given.get_secret_value()
        return KafkaConnection(arguments)
    if given is not None:
        raise SettingsError(f"BACKBURNER_KAFKA_SECURITY_PASSWORD and {_PASSWORD_FILE} are both set; keep one of them")
    password = FromFiles("password for Kafka", [file], lambda: read_secret(_PASSWORD_FILE, file))
    arguments["sasl_plain_password"] = password.current()
    return KafkaConnection(arguments, password)
