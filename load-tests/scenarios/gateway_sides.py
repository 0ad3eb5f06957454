"""Two replicas of the gateway, and as many processes of a bare Starlette endpoint, on the same broker and store."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.settings import Settings
from backburner.storage import Storage
from measuring.part import Part, part

REPLICA_COUNT = 2
_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Sides:
    """The processes of both sides, and what the gateway's callers need."""

    bare: Sequence[Part]
    gateways: Sequence[Part]
    ports: Sequence[int]
    """Where the gateways serve."""
    key: str


@contextmanager
def both_sides() -> Iterator[Sides]:
    """Start them on the servers that this process's environment names."""
    key = asyncio.run(_make_key())
    with ExitStack() as stack:
        leases = stack.enter_context(PortLeases())
        ports = [leases.take() for _ in range(REPLICA_COUNT)]
        bare = [stack.enter_context(part("programs.bare_endpoint")) for _ in ports]
        gateways = [
            stack.enter_context(
                part(
                    "backburner.gateway",
                    BACKBURNER_GATEWAY_LISTEN_HOST=LOOPBACK,
                    BACKBURNER_GATEWAY_LISTEN_PORT=str(port),
                )
            )
            for port in ports
        ]
        yield Sides(bare, gateways, ports, key)


async def _make_key() -> str:
    secret, _ = await ApiKeyStore(Storage.open(Settings.load())).create(_TENANT, "load", [Scope.READ, Scope.WRITE])
    return secret
