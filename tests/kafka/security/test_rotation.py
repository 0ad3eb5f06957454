"""Credentials that change while a worker and a producer run: the next connections use the new ones, without a restart.

Each is first spoilt, so that nobody comes in any more: for a warm worker that is an outage, which says why, and not its
end. Then the file is right again, and all goes on.
"""

import asyncio
from dataclasses import dataclass

import pytest
from secure_kafka import PASSWORD, PATIENCE, POOL, key_store, line

from apache_kafka.security import USERS, Way
from backburner.publishers import ensure_topics
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker


@dataclass
class Password:
    """A password in a file; the broker has another one first."""

    stage: object
    way: Way = Way.BRIEF
    said: str = "refused the credentials"
    new: str = "changed"

    def settings(self, user):
        (self.stage.folder / f"{user}.password").write_text(PASSWORD)
        return {
            "kafka_security_password": None,
            "kafka_security_password_file": str(self.stage.folder / f"{user}.password"),
        }

    async def spoil(self):
        await self._change(self.new)

    async def mend(self):
        for user in ("producer", "worker"):
            (self.stage.folder / f"{user}.password").write_text(self.new)

    async def restore(self):
        await self._change(PASSWORD)

    async def _change(self, password):
        change = self.stage.kafka.change_password
        await asyncio.gather(*(asyncio.to_thread(change, user, password) for user in ("producer", "worker")))


@dataclass
class Certificate:
    """A client's certificate, and its key; those of a stranger come first."""

    stage: object
    way: Way = Way.MUTUAL
    said: str = "refused this client's certificate"

    def settings(self, user):
        self._write(user, self.stage.authority)
        return {
            "kafka_security_cert_file": str(self._file(user, "crt")),
            "kafka_security_key_file": str(self._file(user, "key")),
        }

    async def spoil(self):
        for user in USERS:
            self._write(user, self.stage.stranger)

    async def mend(self):
        for user in USERS:
            self._write(user, self.stage.authority)

    async def restore(self):
        pass

    def _file(self, user, kind):
        return self.stage.folder / f"rotating-{user}.{kind}"

    def _write(self, user, authority):
        signed = authority.sign(user)
        self._file(user, "crt").write_bytes(signed.cert.read_bytes())
        self._file(user, "key").write_bytes(signed.key.read_bytes())


@dataclass
class BrokersAuthority:
    """The authority of the broker's certificate: the broker has a certificate of another one first."""

    stage: object
    way: Way = Way.MUTUAL
    said: str = "certificate is not trusted"

    def settings(self, user):
        self._file.write_bytes(self.stage.authority.file.read_bytes())
        return {"kafka_security_ca_file": str(self._file)}

    async def spoil(self):
        await self._change(self.stage.stranger, "stranger.pem")

    async def mend(self):
        self._file.write_bytes(self.stage.stranger.file.read_bytes())

    async def restore(self):
        await self._change(self.stage.authority, "own.pem")

    @property
    def _file(self):
        return self.stage.folder / "rotating-ca.pem"

    async def _change(self, authority, name):
        await self.stage.kafka.change_key_store(self.way, key_store(authority, self.stage.folder / name))


@dataclass
class TokenFile:
    """A token in a file; one that is over comes first."""

    stage: object
    way: Way = Way.OAUTH
    said: str = "refused the credentials"

    def settings(self, user):
        self._write(user, 300)
        endpoint = ("kafka_security_token_url", "kafka_security_client_id", "kafka_security_client_secret")
        return {**dict.fromkeys(endpoint), "kafka_security_token_file": str(self._file(user))}

    async def spoil(self):
        for user in USERS:
            self._write(user, -50)

    async def mend(self):
        for user in USERS:
            self._write(user, 300)

    async def restore(self):
        pass

    def _file(self, user):
        return self.stage.folder / f"rotating-{user}.token"

    def _write(self, user, seconds):
        self._file(user).write_text(self.stage.issuer.token(user, seconds=seconds))


@pytest.mark.parametrize("kind", [Password, Certificate, BrokersAuthority, TokenFile])
async def test_a_spoilt_credential_is_an_outage_until_its_file_is_right(stage, fronts, kind):
    credential = kind(stage)
    prefix = stage.settings(None).prefix
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix)
    producer, worker = (
        stage.settings(credential.way, user=user, prefix=prefix, **credential.settings(user))
        for user in ("producer", "worker")
    )
    try:
        async with line(producer, worker) as queue:
            await queue.carry()
            await credential.spoil()
            fronts[credential.way].cut()
            async with asyncio.timeout(PATIENCE):
                while credential.said not in (queue.source.unavailable_reason() or ""):
                    # It is asked all the time, and never raises.
                    assert await queue.source.pull(dict.fromkeys(Lane, 1)) == []
            await credential.mend()
            await queue.carry(2)
            assert queue.source.unavailable_reason() is None
    finally:
        await credential.restore()


async def test_a_broker_that_ends_connections_for_a_new_sign_in_stops_nobody(stage, fronts):
    prefix = stage.settings(None).prefix
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix)
    front = fronts[Way.BRIEF]
    producer, worker = (stage.settings(Way.BRIEF, user=user, prefix=prefix) for user in ("producer", "worker"))
    async with line(producer, worker) as queue:
        await queue.carry()
        begun = front.accepted
        async with asyncio.timeout(PATIENCE):
            while front.accepted < begun + 6:
                await queue.carry()


async def test_a_token_that_is_over_is_replaced_by_the_endpoints_next(stage, fronts):
    prefix = stage.settings(None).prefix
    await ensure_topics(stage.settings(None, prefix=prefix), POOL)
    await stage.allow(prefix)
    stage.issuer.seconds, asked = 4.0, stage.issuer.asked
    try:
        producer, worker = (stage.settings(Way.OAUTH, user=user, prefix=prefix) for user in ("producer", "worker"))
        async with line(producer, worker) as queue:
            async with asyncio.timeout(PATIENCE):
                while stage.issuer.asked < asked + 6:
                    await queue.carry()
    finally:
        stage.issuer.seconds = 300.0
