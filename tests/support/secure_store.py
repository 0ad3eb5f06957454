"""The embedded store's own program with an S3 front behind TLS, beside the one that tests wait for."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from authority import ServerFiles

from backburner.local.programs.child import Program
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.local.programs.store import Store


class SecureStore(Store):
    """A store whose S3 front speaks TLS at `secure_endpoint`, with that certificate."""

    def __init__(self, data: Path, leases: PortLeases, files: ServerFiles) -> None:
        self._files = files
        self._secure_port = leases.take()
        super().__init__(data, leases)

    @property
    def secure_endpoint(self) -> str:
        return f"https://{LOOPBACK}:{self._secure_port}"

    def _program(self) -> Program:
        plain = super()._program()
        tls = (
            f"-s3.port.https={self._secure_port}",
            f"-s3.cert.file={self._files.cert}",
            f"-s3.key.file={self._files.key}",
        )
        return replace(plain, argv=(*plain.argv, *tls))


@contextlib.contextmanager
def start(data: Path, files: ServerFiles) -> Iterator[SecureStore]:
    """One that runs while the block lasts."""
    with PortLeases() as leases:
        store = SecureStore(data, leases, files)
        store.start()
        try:
            yield store
        finally:
            store.stop()
