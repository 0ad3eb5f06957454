"""A real OpenID provider as a child process: npm's `oidc-provider`, on Node. Installed once, into the user's cache."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from node_package import NodePackageMissing, find_package

PACKAGE = "oidc-provider@9"


@dataclass(frozen=True)
class Provider:
    """One that runs."""

    issuer: str
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        return int(self.issuer.rpartition(":")[2])

    def token(self, scope: str = "batch:read", *, resource: str = "urn:backburner", verify: Any = True) -> str:
        """An access token, by the client's own credentials."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        found = httpx2.post(
            f"{self.issuer}/token", data=form, auth=("nightly", "hush"), verify=verify, trust_env=False
        ).json()
        made: str = found["access_token"]
        return made

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def start(keys: list[dict[str, Any]], *, port: int = 0, **tls: str) -> Iterator[Provider]:
    """Run it with these private keys while the block lasts; `key` and `cert` for https. Raises `NodePackageMissing`."""
    node, main = find_package(PACKAGE, "oidc-provider", "lib/index.js")
    options = {"port": port, "jwks": {"keys": keys}, **tls}
    script = Path(__file__).with_suffix(".mjs")
    command = [node, str(script), str(main), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            issuer = process.stdout.readline().strip()
            if not issuer:
                raise NodePackageMissing(f"the OpenID provider did not start: {process.stderr.read()[-500:]}")
            yield Provider(issuer, process)
        finally:
            process.kill()
