"""One broker with all its ways to sign in, for all tests of this folder."""

import contextlib

import pytest
from authority import Authority
from front import Front
from secure_kafka import PASSWORD, Stage, key_store
from tokens import AUDIENCE, ISSUER, Issuer

from apache_kafka import security
from apache_kafka.release import KafkaMissing
from apache_kafka.security import Way


@pytest.fixture(scope="session")
def session_stage(tmp_path_factory, missing_server):
    folder = tmp_path_factory.mktemp("secure")
    authority = Authority(folder)
    (folder / "elsewhere").mkdir()
    stranger = Authority(folder / "elsewhere")
    issuer = Issuer({user: f"of {user} & ü" for user in security.USERS})
    rules = security.TokenRules(issuer.write_keys(folder / "keys.json"), ISSUER, AUDIENCE)
    with contextlib.ExitStack() as stack:
        try:
            kafka = stack.enter_context(
                security.start(
                    folder / "broker",
                    key_store=key_store(authority, folder / "broker.pem"),
                    trust=authority.file,
                    tokens=rules,
                    password=PASSWORD,
                )
            )
        except KafkaMissing as error:
            missing_server(str(error))
        url = stack.enter_context(issuer.endpoint())
        yield Stage(kafka, authority, stranger, issuer, url, folder)


@pytest.fixture
async def fronts(session_stage: Stage):
    """The proxies that clients are sent to, by the listener."""
    kafka = session_stage.kafka
    async with contextlib.AsyncExitStack() as stack:
        yield {way: await stack.enter_async_context(Front(kafka.fronts[way], kafka.ports[way])) for way in Way}


@pytest.fixture
def stage(session_stage: Stage, fronts) -> Stage:
    """The broker, with its ways in open."""
    return session_stage
