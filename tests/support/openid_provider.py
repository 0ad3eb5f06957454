"""A real OpenID provider as a child process: npm's `oidc-provider`, on Node. Installed once, into the user's cache."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

PACKAGE = "oidc-provider@9"
_INSTALL_SECONDS = 180


class ProviderMissing(Exception):
    """The provider cannot be had here."""


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


def find_provider() -> tuple[str, Path]:
    """Node, and the installed package's main file. Raises `ProviderMissing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ProviderMissing("Node and npm are needed for a real OpenID provider")
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    folder = root / "backburner" / "tests" / PACKAGE
    main = folder / "node_modules" / "oidc-provider" / "lib" / "index.js"
    if not main.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as part:
            install = [npm, "install", "--prefix", part, "--no-save", "--no-package-lock", "--no-audit", "--no-fund"]
            done = subprocess.run(
                [*install, PACKAGE], capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
            )
            if done.returncode:
                raise ProviderMissing(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
            with contextlib.suppress(OSError):
                # Another test process may have been faster.
                folder.mkdir()
                Path(part, "node_modules").rename(folder / "node_modules")
    return node, main


@contextlib.contextmanager
def start(keys: list[dict[str, Any]], *, port: int = 0, **tls: str) -> Iterator[Provider]:
    """Run it with these private keys while the block lasts; `key` and `cert` for https. Raises `ProviderMissing`."""
    node, main = find_provider()
    options = {"port": port, "jwks": {"keys": keys}, **tls}
    script = Path(__file__).with_suffix(".mjs")
    command = [node, str(script), str(main), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            issuer = process.stdout.readline().strip()
            if not issuer:
                raise ProviderMissing(f"the OpenID provider did not start: {process.stderr.read()[-500:]}")
            yield Provider(issuer, process)
        finally:
            process.kill()
