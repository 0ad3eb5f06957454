"""A server that signs nobody in by SCRAM, since it does not know the password, is refused by a name."""

import base64
import hmac
from hashlib import pbkdf2_hmac, sha256

import aiokafka.conn
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.publishers.kafka.connection import kafka_connection
from backburner.publishers.kafka.security.refusals import explained, is_refusal
from backburner.publishers.kafka.security.scram import ProvingScram, ServerUnproven
from backburner.settings import Settings
from backburner_schemas.errors import QueueDenied

ARGUMENTS = {"bootstrap_servers": ["broker:9092"], "sasl_mechanism": "SCRAM-SHA-256"}


class Exchange:
    """This side's, with what a server may say."""

    def __init__(self):
        self.scram = ProvingScram(
            loop=None, sasl_plain_password="secret", sasl_plain_username="u", sasl_mechanism="SCRAM-SHA-256"
        )
        self.hello = self.scram._step(None)[0].decode().removeprefix("n,,")

    @property
    def nonce(self):
        return self.hello.partition("r=")[2]

    def first(self, *, nonce=None, salt=b"salt", iterations=4096):
        return f"r={nonce or self.nonce + 'server'},s={base64.b64encode(salt).decode()},i={iterations}"

    def proof(self, first, final, password=b"secret"):
        """What a server that knows the password answers."""
        key = hmac.digest(pbkdf2_hmac("sha256", password, b"salt", 4096), b"Server Key", sha256)
        words = f"{self.hello},{first},{final.partition(',p=')[0]}"
        return f"v={base64.b64encode(hmac.digest(key, words.encode(), sha256)).decode()}"


def test_a_server_that_knows_the_password_is_let_through():
    exchange = Exchange()
    first = exchange.first()
    final, _ = exchange.scram._step(first.encode())
    assert exchange.scram._step(exchange.proof(first, final.decode()).encode()) is None


def test_a_server_that_does_not_know_it_is_denied_with_a_remedy():
    exchange = Exchange()
    first = exchange.first()
    final, _ = exchange.scram._step(first.encode())
    with pytest.raises(ServerUnproven) as raised:
        exchange.scram._step(exchange.proof(first, final.decode(), b"guessed").encode())
    assert is_refusal(raised.value)
    told = explained(raised.value, ARGUMENTS)
    assert isinstance(told, QueueDenied)
    assert "did not prove that it knows the password" in told.message
    assert "BACKBURNER_QUEUE_URL" in told.message
    assert "secret" not in told.message


@pytest.mark.parametrize(
    "first", [{"nonce": "another"}, {"iterations": 2**31}, {"iterations": -1}, {"iterations": "x"}]
)
def test_an_answer_that_no_broker_gives_is_refused_and_costs_nothing(first):
    exchange = Exchange()
    with pytest.raises(ServerUnproven):
        exchange.scram._step(exchange.first(**first).encode())


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"r=,s=,i=1", b"v=", b"e=other-error"]), min_size=1, max_size=2)
)
def test_whatever_a_server_says_is_a_proof_or_a_refusal(answers):
    exchange = Exchange()
    with pytest.raises(ServerUnproven):
        exchange.scram._step(answers[0])
    exchange = Exchange()
    exchange.scram._step(exchange.first(iterations=1).encode())
    with pytest.raises(ServerUnproven):
        exchange.scram._step(answers[-1])


async def test_every_connection_of_the_product_asks_for_the_proof():
    given = {"queue_url": "kafka://broker:9092", "store_url": "memory:///", "kafka_security_protocol": "SASL_PLAINTEXT"}
    kafka_connection(Settings(**given, kafka_security_username="u", kafka_security_password="p"))
    sasl = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u", "sasl_plain_password": "p"}
    made = aiokafka.conn.AIOKafkaConnection("broker", 9092, security_protocol="SASL_PLAINTEXT", **sasl)
    assert isinstance(made.authenticator_scram(), ProvingScram)
