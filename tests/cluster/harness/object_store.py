"""SeaweedFS beside the cluster, behind TLS from a private authority. Objects are read over S3 alone."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.authority import ServerCertificate, sign
from harness.cluster import HOST, Cluster, ServerMissing
from harness.process import stopped

from backburner.local.programs.ports import PortLeases
from backburner.local.programs.store import REGION, find_weed

_SERVERS = ("master", "volume", "filer", "s3", "admin")
_VARIABLE_START = "BACKBURNER_TEST_STORE_"
STORE_VARIABLE = f"{_VARIABLE_START}URL"
_READY_SECONDS = 60.0
BUCKET = "backburner"
MODELS_BUCKET = "models"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Where the store is and who may use it."""

    endpoint: str
    authority: Path | None
    """PEM file of the authority that signed its certificate; None where the system knows it."""
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str = BUCKET
    region: str = REGION

    def authority_values(self) -> dict[str, dict[str, str]]:
        """How the chart is told whom to trust."""
        return {} if self.authority is None else {"caFrom": {"configMap": "authorities", "key": "store.crt"}}

    @property
    def environment(self) -> Mapping[str, str]:
        """The provider's own variables for a client on this machine."""
        trusted = {} if self.authority is None else {"AWS_CA_BUNDLE": str(self.authority)}
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            **trusted,
        }


@contextmanager
def start(cluster: Cluster, folder: Path) -> Iterator[ObjectStore]:
    """A running store in the cluster's network."""
    certificate = sign(folder / "authority", host=HOST)
    # Its servers have sockets in the machine's own /tmp, named by their ports, which another cluster's must not have.
    with PortLeases() as leases:
        ports = {name: leases.take(twin=True) for name in _SERVERS}
        yield from _serving(cluster, folder, certificate, ports)


def _serving(
    cluster: Cluster, folder: Path, certificate: ServerCertificate, ports: Mapping[str, int]
) -> Iterator[ObjectStore]:
    endpoint = f"https://{HOST}:{ports['s3']}"
    store = ObjectStore(endpoint, certificate.authority, "BACKBURNERTESTS", secrets.token_hex(20))
    data = folder / "store"
    data.mkdir(parents=True)
    program = cluster.start(
        *_command(data, certificate, ports),
        log=folder / "logs" / "store.log",
        env={**store.environment, "S3_BUCKET": f"{BUCKET},{MODELS_BUCKET}", "TMPDIR": str(data)},
    )
    with stopped(program):
        health = ("curl", "-sf", "--cacert", certificate.authority, f"{store.endpoint}/healthz", "-o", "/dev/null")
        cluster.until(
            lambda: cluster.run(*health, check=False).returncode == 0, "an answer of the store", seconds=_READY_SECONDS
        )
        yield store


def outside() -> ObjectStore:
    """The bucket that the environment names, by docs/certify.md. Raises `ServerMissing` where it names none."""
    url, endpoint = os.environ.get(STORE_VARIABLE, ""), os.environ.get(f"{_VARIABLE_START}ENDPOINT", "")
    if not url.startswith("s3://"):
        raise ServerMissing(f"{STORE_VARIABLE} names no bucket; set it to s3://bucket, where pods reach it")
    authority = os.environ.get("AWS_CA_BUNDLE")
    return ObjectStore(
        endpoint,
        Path(authority) if authority else None,
        os.environ.get("AWS_ACCESS_KEY_ID", ""),
        os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        bucket=url.removeprefix("s3://").partition("/")[0],
        region=os.environ.get("AWS_REGION", REGION),
    )


def _command(data: Path, certificate: ServerCertificate, ports: Mapping[str, int]) -> tuple[str | Path, ...]:
    return (
        find_weed(),
        "mini",
        f"-dir={data}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-volume.preStopSeconds=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        f"-s3.cert.file={certificate.certificate}",
        f"-s3.key.file={certificate.key}",
    )
