"""A certificate authority made on the spot, and what it signs, as PEM files: for servers behind TLS."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


@dataclass(frozen=True)
class ServerFiles:
    """What a server needs to speak TLS."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates of servers. Its own is at `file`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._own = _make(name, None, authority=True)
        self.file = folder / f"{name}.pem"
        # The public bundles have comments in all languages.
        self.file.write_bytes("# Hitelesítő\n".encode() + self._own[0].public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, *, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 30)) -> ServerFiles:
        """A certificate for that host, valid from and to so many days from now."""
        return self._write(name, _make(name, self._own, host=host, days=days))

    def as_server(self) -> ServerFiles:
        """The authority's own certificate, in the place of a server's."""
        return self._write("authority-as-server", self._own)

    def _write(self, name: str, pair: Pair) -> ServerFiles:
        files = ServerFiles(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.cert.write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            pair[1].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


def _make(
    name: str,
    issuer: Pair | None,
    *,
    authority: bool = False,
    host: str = "127.0.0.1",
    days: tuple[int, int] = (-1, 30),
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    own_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (own_name, key) if issuer is None else (issuer[0].subject, issuer[1])
    now = dt.datetime.now(dt.UTC)
    begin, end = (now + dt.timedelta(days=day) for day in days)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(own_name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(usage, critical=True)
        # Newer OpenSSLs want both on every chain.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return made.sign(issuer_key, hashes.SHA256()), key
