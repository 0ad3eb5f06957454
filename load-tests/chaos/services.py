"""Gateway and dispatchers of a run: real processes at named places, by which a part of the load goes in."""

from collections.abc import Mapping
from pathlib import Path

from backburner.local.programs.child import clean_environment
from backburner.local.programs.ports import LOOPBACK, PortLeases
from chaos.place import Place
from chaos.supervisor import Supervisor

_DISPATCHER_COUNT = 2
"""So that one is there to take over what another leaves, and a stopped one wakes up to what it has lost."""
CLAIM_SECONDS = 3.0
"""After which a silent dispatcher's jobs are another's."""
_SETTINGS = {
    "BACKBURNER_GATEWAY_LISTEN_HOST": LOOPBACK,
    "BACKBURNER_DISPATCH_CLAIM_SECONDS": f"{CLAIM_SECONDS:.0f}",
    "BACKBURNER_DISPATCH_LOOK_SECONDS": "0.2",
}


class Services:
    """One gateway and two dispatchers, started."""

    def __init__(
        self, supervisor: Supervisor, settings: Mapping[str, str], *, tenant: str, folder: Path, leases: PortLeases
    ) -> None:
        """Whoever calls the gateway is that tenant."""
        self._port = leases.take()
        settings = {
            **settings,
            **_SETTINGS,
            "BACKBURNER_GATEWAY_LISTEN_PORT": str(self._port),
            "BACKBURNER_GATEWAY_ANONYMOUS_TENANT": tenant,
        }

        def started(name: str, module: str) -> Place:
            port = leases.take()
            env = clean_environment(**settings, BACKBURNER_HTTP_PORT=str(port))
            place = Place(name, module, env, port, folder / "logs" / f"{name}.log")
            supervisor.add(place)
            return place

        self.gateway = started("gateway", "backburner.gateway")
        self.dispatchers = [
            started(f"dispatcher-{number}", "backburner.dispatcher") for number in range(1, _DISPATCHER_COUNT + 1)
        ]

    @property
    def url(self) -> str:
        """Where the gateway serves OpenAI's API."""
        return f"http://{LOOPBACK}:{self._port}/v1"
