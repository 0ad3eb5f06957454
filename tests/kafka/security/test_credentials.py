"""The security matrix: each way to sign in to Apache Kafka, with good credentials and with bad ones.

Publisher, worker and `backburner topics ensure` are let in together, or told the same, with the remedy. docs/kafka.md
shows what they were told.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from joserfc.jwk import ECKey
from kafka_page import WORKS, PageTable, shown
from secure_kafka import PATIENCE, line, nothing, source_of

from apache_kafka.security import Way
from backburner.publishers import ensure_topics
from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner_schemas.errors import BackburnerError, QueueDenied
from backburner_worker.sources.factory import check_source

pytestmark = pytest.mark.broker


@dataclass(frozen=True)
class Case:
    """One line of the page."""

    way: str
    credentials: str
    listener: Way
    change: Callable[[Any, str], dict[str, Any]] = lambda stage, user: {}
    """Settings that replace the good ones."""
    works: bool = False


def files(user, authority=None, **more):
    """The settings of a client's certificate."""

    def change(stage, _):
        signed = stage.certificate(user, stage.stranger if authority else None, **more)
        return {"kafka_security_cert_file": str(signed.cert), "kafka_security_key_file": str(signed.key)}

    return change


NO_ENDPOINT = dict.fromkeys(
    ("kafka_security_token_url", "kafka_security_client_id", "kafka_security_client_secret"), None
)


def token_file(**claims):
    """A token in a file, instead of the endpoint."""

    def change(stage, user):
        file = stage.folder / f"{user}.token"
        file.write_text(stage.issuer.token(user, **claims) + "\n")
        return {**NO_ENDPOINT, "kafka_security_token_file": str(file)}

    return change


def provider(function):
    """A function that returns tokens, instead of the endpoint."""
    return lambda stage, user: {
        **NO_ENDPOINT,
        "kafka_security_token_provider": lambda: function(stage.issuer, user),
    }


def password_file(text):
    def change(stage, _):
        file = stage.folder / "password"
        file.write_text(text)
        return {"kafka_security_password": None, "kafka_security_password_file": str(file)}

    return change


def broken(*_):
    raise RuntimeError("the vault is sealed")


def stranger_ca(stage, _):
    return {"kafka_security_ca_file": str(stage.stranger.file)}


def fixed(**settings):
    return lambda stage, user: settings


SCRAM, MUTUAL, OAUTH = "SASL_SSL, SCRAM-SHA-512", "SSL, mutual", "SASL_SSL, OAUTHBEARER"
CASES = [
    Case(SCRAM, "user and password", Way.SCRAM, works=True),
    Case(SCRAM, "user, and the password in a file", Way.SCRAM, password_file("secret\n"), works=True),
    Case(SCRAM, "another password", Way.SCRAM, fixed(kafka_security_password="guess")),
    Case(SCRAM, "an unknown user", Way.SCRAM, fixed(kafka_security_username="nobody")),
    Case(SCRAM, "SCRAM-SHA-256", Way.SCRAM, fixed(kafka_security_mechanism="SCRAM-SHA-256")),
    Case(SCRAM, "the authority of another broker", Way.SCRAM, stranger_ca),
    Case(SCRAM, "protocol SASL_PLAINTEXT", Way.SCRAM, fixed(kafka_security_protocol="SASL_PLAINTEXT")),
    Case(SCRAM, "protocol SSL", Way.SCRAM, fixed(kafka_security_protocol="SSL")),
    Case(MUTUAL, "certificate and key", Way.MUTUAL, works=True),
    Case(
        MUTUAL,
        "no certificate",
        Way.MUTUAL,
        fixed(kafka_security_cert_file=None, kafka_security_key_file=None),
    ),
    Case(MUTUAL, "a certificate of another authority", Way.MUTUAL, files("worker", "another")),
    Case(MUTUAL, "a certificate that has expired", Way.MUTUAL, files("worker", days=(-9, -1))),
    Case(MUTUAL, "the authority of another broker", Way.MUTUAL, stranger_ca),
    Case(MUTUAL, "protocol PLAINTEXT", Way.MUTUAL, fixed(kafka_security_protocol="PLAINTEXT")),
    Case(OAUTH, "client credentials", Way.OAUTH, works=True),
    Case(OAUTH, "a token in a file", Way.OAUTH, token_file(), works=True),
    Case(
        OAUTH,
        "a function that returns tokens",
        Way.OAUTH,
        provider(lambda issuer, user: issuer.token(user)),
        works=True,
    ),
    Case(OAUTH, "another client secret", Way.OAUTH, fixed(kafka_security_client_secret="guess")),
    Case(OAUTH, "no endpoint there", Way.OAUTH, fixed(kafka_security_token_url="http://127.0.0.1:9/token")),
    Case(OAUTH, "a token for somebody else", Way.OAUTH, token_file(audience="mail")),
    Case(OAUTH, "a token that has expired", Way.OAUTH, token_file(seconds=-50)),
    Case(OAUTH, "a token of another issuer", Way.OAUTH, token_file(issuer="https://elsewhere.example")),
    Case(OAUTH, "a token that somebody else signed", Way.OAUTH, token_file(key=ECKey.generate_key("P-256"))),
    Case(OAUTH, "a function that raises", Way.OAUTH, provider(broken)),
    Case(
        OAUTH,
        "a password",
        Way.OAUTH,
        fixed(
            **NO_ENDPOINT,
            kafka_security_mechanism="SCRAM-SHA-512",
            kafka_security_username="worker",
            kafka_security_password="secret",
        ),
    ),
]


@pytest.fixture(scope="module")
def page():
    with PageTable("credentials", ("how", "with", "says"), len(CASES)) as page:
        yield page


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.way}: {case.credentials}")
async def test_all_parts_are_let_in_or_told_why_not(stage, page, case):
    prefix = stage.settings(None).prefix
    await stage.allow(prefix)

    def settings(user):
        return stage.settings(case.listener, user=user, **{"prefix": prefix, **case.change(stage, user)})

    if case.works:
        await ensure_topics(settings("bootstrap"), "fake")
        await check_source(settings("worker"), "fake")
        async with line(settings("producer"), settings("worker")) as queue:
            await queue.carry()
        page.add(case.way, case.credentials, WORKS)
        return
    told = [
        await refusal(ensure_topics(settings("bootstrap"), "fake")),
        await refusal(started(settings("producer"))),
        await refusal(check_source(settings("worker"), "fake")),
        await refusal(joined(settings("worker"))),
    ]
    assert len({shown(error.message) for error in told}) == 1, told
    assert all(isinstance(error, QueueDenied) for error in told)
    assert "BACKBURNER_KAFKA_SECURITY_" in told[0].message
    page.add(case.way, case.credentials, shown(told[0].message))


async def refusal(starting) -> BackburnerError:
    with pytest.raises(BackburnerError) as caught:
        async with asyncio.timeout(PATIENCE):
            await starting
    return caught.value


async def started(settings):
    publisher = KafkaPublisher(settings)
    try:
        await publisher.start()
    finally:
        await publisher.close()


async def joined(settings):
    source = source_of(settings)
    try:
        await source.start(nothing)
    finally:
        await source.close()
