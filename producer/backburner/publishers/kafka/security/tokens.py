"""Tokens for SASL/OAUTHBEARER: where they come from, by the settings, and one for each connection."""

import asyncio
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from backburner.credentials.aws import MskTokens
from backburner.credentials.files import MAX_SECRET_BYTES, read_secret
from backburner.publishers.kafka.security.token_endpoint import EndpointFailed, TokenEndpoint
from backburner.publishers.kafka.security.token_threads import ThreadsBusy, TokenThreads
from backburner.settings.kafka import KafkaTokens, TokenCallable
from backburner_schemas.errors import SettingsError

MSK_IAM = "aws-msk-iam"
_TOKEN_SECONDS = 20.0
"""How long a token may take: a client makes no other connection meanwhile."""
_MAX_WORDS = 200
_TOKEN = re.compile(r"[\x21-\x7e]+")
"""What Kafka takes: anything else could end the token's field and begin another."""
_NAME = re.compile(r"[A-Za-z]+")
_VALUE = re.compile(r"[\x21-\x7e \t]+")

_FILE = "BACKBURNER_KAFKA_SECURITY_TOKEN_FILE"
_PROVIDER = "BACKBURNER_KAFKA_SECURITY_TOKEN_PROVIDER"
_SOURCES = f"{_FILE}, BACKBURNER_KAFKA_SECURITY_TOKEN_URL and {_PROVIDER}"
Source = Callable[[], Awaitable[str]]


class TokenUnavailable(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """No token for the broker could be had; its message says why. A connection that fails of it is tried again."""

    retriable = True


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """What aiokafka asks for a token at each connection."""

    def __init__(self, source: Source, extensions: dict[str, str]) -> None:
        self._source = source
        self._extensions = extensions

    async def token(self) -> str:
        """A token of this moment. Raises `TokenUnavailable`, whatever its source raised."""
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                token = await self._source()
        except TimeoutError as error:
            raise TokenUnavailable(f"no token came within {_TOKEN_SECONDS:g} s") from error
        except (EndpointFailed, SettingsError, ThreadsBusy) as error:
            raise TokenUnavailable(str(error)) from error
        except Exception as error:  # a function of the user's may raise anything, and aiokafka would end of it
            said = str(error)[:_MAX_WORDS] or type(error).__name__
            raise TokenUnavailable(f"{said}; mend the function that {_PROVIDER} names") from error
        if not isinstance(token, str) or len(token) > MAX_SECRET_BYTES or not _TOKEN.fullmatch(token):
            raise TokenUnavailable("what came is no token: a text of visible ASCII characters, of 64 KiB at most")
        return token

    def extensions(self) -> dict[str, str]:
        """SASL extensions that go with every token."""
        return self._extensions


def open_tokens(settings: KafkaTokens, servers: tuple[str, ...]) -> Tokens:
    """The tokens that the settings say. Asks for none yet. Raises `SettingsError` for what cannot be used."""
    said = [one for one in (settings.file, settings.url, settings.provider) if one is not None]
    if len(said) != 1:
        raise SettingsError(f"OAUTHBEARER needs one of {_SOURCES}; set one")
    return Tokens(_source(settings, servers), _extensions(settings.extensions))


def _source(settings: KafkaTokens, servers: tuple[str, ...]) -> Source:
    if settings.file is not None:
        file = settings.file
        read_secret(_FILE, file)

        async def from_file() -> str:
            return read_secret(_FILE, file)

        return from_file
    if settings.url is not None:
        return TokenEndpoint.by(settings).token
    if settings.provider == MSK_IAM:
        msk, threads = MskTokens.for_brokers(servers), TokenThreads()

        async def signed() -> str:
            return await threads.run(msk.token)

        return signed
    provider = settings.provider
    assert provider is not None
    return _called(_imported(provider) if isinstance(provider, str) else provider)


def _called(function: TokenCallable) -> Source:
    threads = TokenThreads()

    async def called() -> str:
        found: Any = function() if inspect.iscoroutinefunction(function) else await threads.run(function)
        token: str = await found if inspect.isawaitable(found) else found
        return token

    return called


def _imported(name: str) -> TokenCallable:
    remedy = f"name `{MSK_IAM}`, or a function as `module:function`"
    module, separator, function = name.partition(":")
    if not separator:
        raise SettingsError(f"{_PROVIDER} {name!r} is not understood; {remedy}")
    try:
        found: Any = importlib.import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"{_PROVIDER} {name!r} cannot be imported ({error}); {remedy}") from error
    if not callable(found):
        raise SettingsError(f"{_PROVIDER} {name!r} is no function; {remedy}")
    made: TokenCallable = found
    return made


def _extensions(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition("=")
        if not _NAME.fullmatch(name) or name == "auth" or not _VALUE.fullmatch(value):
            raise SettingsError("BACKBURNER_KAFKA_SECURITY_EXTENSIONS is not understood; write name=value,name=value")
        found[name] = value
    return found
