"""PEM files of certificate authorities: which one counts, and what is in it."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from backburner_schemas.errors import SettingsError

STORE_CA_FILE = "BACKBURNER_STORE_CA_FILE"
_USUAL = ("AWS_CA_BUNDLE", "SSL_CERT_FILE")
"""What AWS's own tools and OpenSSL read, the first that is set."""
PUBLIC_AUTHORITY = b"""\
-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgITBmyf1XSXNmY/Owua2eiedgPySjAKBggqhkjOPQQDAjA5
MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRkwFwYDVQQDExBBbWF6b24g
Um9vdCBDQSAzMB4XDTE1MDUyNjAwMDAwMFoXDTQwMDUyNjAwMDAwMFowOTELMAkG
A1UEBhMCVVMxDzANBgNVBAoTBkFtYXpvbjEZMBcGA1UEAxMQQW1hem9uIFJvb3Qg
Q0EgMzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCmXp8ZBf8ANm+gBG1bG8lKl
ui2yEujSLtf6ycXYqm0fc4E7O5hrOXwzpcVOho6AF2hiRVd9RFgdszflZwjrZt6j
QjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBSr
ttvXBp43rDCGB5Fwx5zEGbF4wDAKBggqhkjOPQQDAgNJADBGAiEA4IWSoxe3jfkr
BqWTrBqYaGFy+uGh0PsceGCmQ5nFuMQCIQCcAu/xlJyzlvnrxir4tiz+OpAUFteM
YyRIHN8wfdVoOw==
-----END CERTIFICATE-----
"""
"""Amazon Root CA 3, valid until 2040. Every system trusts it anyway; for clients that have to be given an authority."""
_MAX_BYTES = 8 * 1024 * 1024
"""The public authorities together take a quarter of a megabyte."""


@dataclass(frozen=True, slots=True)
class AuthorityFile:
    """A PEM file with the certificates of authorities, and the variable that names it."""

    variable: str
    path: Path

    def read(self) -> bytes:
        """The file's certificates. Raises `SettingsError` for a file that cannot be read, or has none."""
        remedy = f"name a PEM file of certificates in {self.variable}"
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise SettingsError(f"{self.variable} {self.path} cannot be read ({error.strerror}); {remedy}") from error
        if len(data) > _MAX_BYTES:
            raise SettingsError(f"{self.variable} {self.path} is over {_MAX_BYTES:,} bytes; {remedy}")
        try:
            # Comments in such files are in any language.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise SettingsError(f"{self.variable} {self.path} holds no certificates in PEM form; {remedy}") from error
        return data


def store_authority_file(own: str | None) -> AuthorityFile | None:
    """The file whose authorities a store is trusted by, beside the public ones; None where no variable names one.

    The setting's own value comes first, then AWS_CA_BUNDLE, then SSL_CERT_FILE.
    """
    if own:
        return AuthorityFile(STORE_CA_FILE, Path(own))
    for variable in _USUAL:
        if found := os.environ.get(variable):
            return AuthorityFile(variable, Path(found))
    return None
