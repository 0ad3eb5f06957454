"""Passwords in files, for aiokafka, which keeps the one that a client began with: here each connection asks anew."""

from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient

from backburner.credentials.files import FromFiles

ClientT = TypeVar("ClientT")


def with_password(client: ClientT, password: FromFiles[str]) -> ClientT:
    """The same client (consumer, producer or admin), which signs in with the password of the moment from now on."""
    held: Any = client
    connecting = held.client if hasattr(held, "client") else held._client  # noqa: SLF001 - a producer's alone is public
    connecting.password = password
    # The password that a connection gets is read from the client's attribute at that moment, and nowhere else.
    connecting.__class__ = _Renewed
    return client


class _Renewed(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's client, but that its password is a question and no text."""

    password: FromFiles[str]

    @property
    def _sasl_plain_password(self) -> str:
        return self.password.current()
