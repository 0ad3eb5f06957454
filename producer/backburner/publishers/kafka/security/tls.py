"""TLS whose certificate, key and authorities may be replaced while a client runs: each connection takes them anew."""

import ssl
from typing import Any

from backburner.credentials.files import FromFiles
from backburner.settings.kafka import KafkaSecurity
from backburner_schemas.errors import SettingsError


class RenewedContext(ssl.SSLContext):
    """What aiokafka takes as its context for the life of a client. Each connection gets one of the files of now.

    An authority that is gone from its file is trusted no more, which no call on a living context can do.
    """

    _contexts: FromFiles[ssl.SSLContext]

    @classmethod
    def of(cls, security: KafkaSecurity) -> "RenewedContext":
        """A context by the files that the settings name. Raises `SettingsError` for files that cannot be used."""
        made = cls(ssl.PROTOCOL_TLS_CLIENT)
        files = [file for file in (security.ca_file, security.cert_file, security.key_file) if file is not None]
        made._contexts = FromFiles("certificates for Kafka", files, lambda: _context(security))
        return made

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """A new connection's TLS, as the files are now."""
        return self._contexts.current().wrap_bio(*args, **kwargs)


def _context(security: KafkaSecurity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.cert_file is not None:
            context.load_cert_chain(security.cert_file, security.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"the files of BACKBURNER_KAFKA_SECURITY_CA_FILE, …_CERT_FILE and …_KEY_FILE cannot be used: {error}"
        ) from error
    return context
