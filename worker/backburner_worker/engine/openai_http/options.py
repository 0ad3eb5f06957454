"""What the engine needs to know of servers elsewhere. Reads no file and calls nobody."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from backburner_schemas.errors import SettingsError

URLS = "BACKBURNER_ENGINE_URLS"
TOKEN_FILE = "BACKBURNER_ENGINE_TOKEN_FILE"  # noqa: S105 - the setting's name
CA_FILE = "BACKBURNER_ENGINE_CA_FILE"
CERT_FILE = "BACKBURNER_ENGINE_CERT_FILE"
KEY_FILE = "BACKBURNER_ENGINE_KEY_FILE"

_MAX_URLS = 256


@dataclass(frozen=True, slots=True)
class OpenAiHttpOptions:
    """Servers, how they are called, and for how long they are waited for."""

    urls: tuple[str, ...] = ()
    """Base URLs, up to before `/v1`, without a slash at the end."""
    token_file: str = ""
    """A file with the bearer token; none is sent if empty."""
    ca_file: str = ""
    """Certificates of the authorities that sign those of the servers; the system's if empty."""
    cert_file: str = ""
    """The client's own certificate, for mutual TLS."""
    key_file: str = ""
    """The key of that certificate; in the certificate's file if empty."""
    start_seconds: float = 1800.0
    """For a first server to be ready, since one that starts beside the worker loads its model meanwhile."""
    answer_seconds: float = 3600.0
    """For the answer to one request."""
    stall_seconds: float = 300.0
    """Without a byte from a server that has requests, after which they are taken from it; 0 for never."""
    check_seconds: float = 5.0
    """Between two looks at a server that answers."""
    probe_seconds: float = 1.0
    """Before a server that is away is tried for the first time; up to ten times as long later on."""


def parse_urls(text: str) -> tuple[str, ...]:
    """The base URLs of a setting, `http://a:8000,http://b:8000`. Raises `ValueError`, which names the part."""
    urls: dict[str, None] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        url = part.rstrip("/").removesuffix("/v1")
        try:
            parts = urlsplit(url)
            whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            whole = False
        if not whole or not url.isprintable() or " " in url:
            raise ValueError(f"{URLS}: {_shown(part)!r} is not a URL; write it like http://llm.models:8000")
        if "@" in parts.netloc or parts.query or parts.fragment:
            # It would stand in logs and errors.
            raise ValueError(f"{URLS}: a URL ends before /v1 and holds no user, password or query; use {TOKEN_FILE}")
        urls[url] = None
    if len(urls) > _MAX_URLS:
        raise ValueError(f"{URLS} has {len(urls)} URLs and the limit is {_MAX_URLS}; put a load balancer before them")
    return tuple(urls)


def check_options(options: OpenAiHttpOptions) -> None:
    """Raise `SettingsError` for what no start can make good."""
    if not options.urls:
        raise SettingsError(f"the engine openai-http needs servers; set {URLS} to their base URLs")
    if options.key_file and not options.cert_file:
        raise SettingsError(f"{KEY_FILE} is the key of a certificate; set {CERT_FILE} too")


def _shown(part: str) -> str:
    """The part without what may be a password."""
    return part.rpartition("@")[2]
