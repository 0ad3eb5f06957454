"""Azure's own blob emulator as a child process: npm's `azurite`, on Node. Installed once, into the user's cache."""

import base64
import contextlib
import hashlib
import hmac
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

import httpx2
from node_package import NodePackageMissing, find_package

PACKAGE = "azurite@3"
ACCOUNT = "devstoreaccount1"
# The emulator's own, the same everywhere.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "backburner"
_VERSION = "2021-12-02"
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Azurite:
    """One that runs, with an empty container."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """The provider's own variables for a client."""
        return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}


@contextlib.contextmanager
def start() -> Iterator[Azurite]:
    """Run it in memory while the block lasts. Raises `NodePackageMissing` where it cannot be had."""
    node, main = find_package(PACKAGE, "azurite", "dist/src/blob/main.js")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck"]
    command = [node, str(main), *options, "--disableTelemetry", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _create_container(process, port)
            yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")
        finally:
            process.kill()


def _create_container(process: "subprocess.Popen[str]", port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            answer = httpx2.put(
                f"http://127.0.0.1:{port}/{ACCOUNT}/{CONTAINER}?restype=container", headers=_signed(), trust_env=False
            )
        except httpx2.TransportError:
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                assert process.stdout is not None
                raise NodePackageMissing(f"{PACKAGE} did not start: {process.stdout.read()[-500:]}") from None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            continue
        answer.raise_for_status()
        return


def _signed() -> dict[str, str]:
    """Headers that sign the making of the container with the account's key."""
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    # The account stands twice: once as such, once as the path's first part.
    resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + headers + resource
    made = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    return {"x-ms-date": date, "x-ms-version": _VERSION, "authorization": f"SharedKey {ACCOUNT}:{made}"}
