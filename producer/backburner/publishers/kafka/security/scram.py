"""SCRAM, but that a server which does not prove that it knows the password is refused by a name, and costs no more.

aiokafka raises bare errors of Python's then, which none of its callers expects, and works for as long as such a server
says.
"""

import aiokafka.conn
from aiokafka.conn import ScramAuthenticator
from aiokafka.errors import AuthenticationFailedError

_MAX_ITERATIONS_COUNT = 100_000
"""Kafka takes 16,384 at most; each is work for this side."""


class ServerUnproven(AuthenticationFailedError):  # type: ignore[misc]  # aiokafka has no types
    """The server did not prove that it knows the password: somebody else may stand in the broker's place."""


class ProvingScram(ScramAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's side of SCRAM. Each step raises `ServerUnproven` for whatever is no proof."""

    def _step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        try:
            found: tuple[bytes, bool] | None = super()._step(payload)
        except (ValueError, KeyError) as error:
            raise ServerUnproven(f"{type(error).__name__}: {error}"[:200]) from error
        return found

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """As aiokafka's, for as many iterations as any broker wants."""
        if not 0 < iterations <= _MAX_ITERATIONS_COUNT:
            raise ValueError(f"the server asks for {iterations:,} iterations")
        super().create_salted_password(salt, iterations)


def have_servers_prove() -> None:
    """From now on all of aiokafka's connections of this process that use SCRAM do so. Safe to repeat."""
    aiokafka.conn.ScramAuthenticator = ProvingScram
