"""Where the embedded gateway listens, and the API key that lets the user of the stack in.

Both are kept in the data folder, so that an OpenAI client which was configured once still works after the next `up`.
"""

from pathlib import Path

from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.state_file import read_state, saved_port, write_state
from backburner_schemas.errors import SettingsError


class Front:
    """The front that OpenAI's clients see: an address and a key."""

    def __init__(self, data: Path, leases: PortLeases, port: int | None = None) -> None:
        """Lease a port: that one, or the last `up`'s, or any. Raises `SettingsError` where that one is taken."""
        self._state_file = data.absolute() / "gateway.json"
        saved = read_state(self._state_file)
        self.port = leases.take(preferred=port if port is not None else saved_port(saved, "port"))
        if port not in {None, self.port}:
            raise SettingsError(f"port {port} is taken; give --gateway-port another, or leave it out for a free one")
        self.api_key: str | None = saved.get("api_key")
        """None until `keep`: a data folder that is new has no key."""

    @property
    def base_url(self) -> str:
        """As OpenAI's clients take it."""
        return f"http://{LOOPBACK}:{self.port}/v1"

    def keep(self, api_key: str) -> None:
        """Keep that key for this `up` and the next."""
        self.api_key = api_key
        write_state(self._state_file, {"port": str(self.port), "api_key": api_key})

    @property
    def settings(self) -> dict[str, str]:
        """What tells the gateway where to listen."""
        return {"BACKBURNER_GATEWAY_LISTEN_HOST": LOOPBACK, "BACKBURNER_GATEWAY_LISTEN_PORT": str(self.port)}

    @property
    def variables(self) -> dict[str, str]:
        """The two variables in which OpenAI's clients find it. Call `keep` first."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key or ""}
