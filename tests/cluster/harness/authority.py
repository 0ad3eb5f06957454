"""A private certificate authority, as platform teams run one: its certificate, and a server's that it signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_OPENSSL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """PEM files of a server whose authority nobody knows but who is told."""

    authority: Path
    certificate: Path
    key: Path


def sign(folder: Path, *, host: str) -> ServerCertificate:
    """A new authority, and a server's certificate for that address, as files in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    new_key = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        folder,
        *new_key,
        "-x509",
        "-days",
        "30",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-subj",
        "/CN=A private authority",
    )
    _openssl(folder, *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    (folder / "names").write_text(f"subjectAltName=IP:{host}\n")
    authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    # rustls takes no server's certificate that could be an authority's.
    _openssl(
        folder,
        "x509",
        "-req",
        "-in",
        "server.csr",
        *authority,
        "-days",
        "30",
        "-out",
        "server.crt",
        "-extfile",
        "names",
    )
    return ServerCertificate(folder / "ca.crt", folder / "server.crt", folder / "server.key")


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(
        ("openssl", *words), cwd=folder, capture_output=True, text=True, timeout=_OPENSSL_SECONDS, check=False
    )
    assert done.returncode == 0, f"openssl {words[0]}: {done.stderr}"
