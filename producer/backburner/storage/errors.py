"""What an object store's refusals mean: away, full, denied or missing. It makes no request."""

import re

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from backburner.storage.provider import Provider
from backburner_schemas.errors import StoreDenied, StoredObjectBroken, StoreError, StoreFull, StoreUntrusted

_METADATA_SERVICES = ("://169.254.169.254/", "://metadata.google.internal/")
_KEYS_FAILED = "External AWS credential provider"
"""As obstore names what it asks for keys, in place of a path; keys of objects have no spaces."""
_REMEDY = "check BACKBURNER_STORE_URL, BACKBURNER_STORE_ENDPOINT and that the store is up"
# Stores report it by the status, by a code of their own under several statuses, and a file system by its error number.
# Keys are percent-encoded, so that none of these can come from a name in a key.
_FULL = re.compile(
    r"status code: 507 |<Code>\w*(?:QuotaExceeded|StorageFull|InsufficientStorage|InsufficientCapacity)\w*</Code>"
    r"|\(os error (?:28|122)\)"
)
# A refused listing is raised as an error without a kind of its own.
_DENIED = re.compile(r"status code: (?:401|403) ")
_IMPOSSIBLE = re.compile(r"<Code>\w*(?:KeyTooLong|InvalidObjectName)\w*</Code>|\(os error 36\)")
_READ_ONLY = re.compile(r"LocalFileSystem error: .*\(os error (?:1|13|30)\)", re.DOTALL)

# As the client's debugging output names it; what a server answers stands elsewhere in it.
_CERTIFICATE = re.compile(r"kind: Connect,.*?InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)", re.DOTALL)
_NAMES_IN_CERTIFICATE = re.compile(r"presented: \[(.*?)\]", re.DOTALL)
_CERTIFICATE_FAULTS = {
    "UnknownIssuer": (
        "is signed by an authority that is not known here; name the authority's PEM file in BACKBURNER_STORE_CA_FILE"
    ),
    "Expired": "has expired; renew it",
    "NotValidYet": "is not valid yet; check the clocks of the store and of this machine",
    "NotValidForName": (
        "is for other names; give BACKBURNER_STORE_ENDPOINT one of them, or the certificate that one as an alternative"
    ),
    "CaUsedAsEndEntity": (
        "is an authority's own, which no server may have; sign another with it for the server, and name the "
        "authority's PEM file in BACKBURNER_STORE_CA_FILE"
    ),
}


class Missing(StoreError):
    """The object is not there."""


class ObjectReplaced(StoreError):
    """The object was replaced while it was read; read it again."""


class ObjectTooLarge(StoredObjectBroken):
    """An object in the store is larger than any of its kind; find out what wrote it, and remove it."""


class ImpossibleKey(StoreError):
    """No object can have such a key; check BACKBURNER_STORE_URL and the names in the key."""

    retryable = False


class ForeignKey(StoreError):
    """An object of another tenant was asked for; this is a bug in Backburner: please report it."""

    retryable = False
    http_status = 500


def certificate_fault(error: BaseException) -> str | None:
    """Why the server's certificate is not trusted, with the remedy; None for errors of other kinds."""
    said = str(error)
    found = _CERTIFICATE.search(said)
    if found is None:
        return None
    kind = found[1].removesuffix("Context")
    fault = _CERTIFICATE_FAULTS.get(kind)
    if fault is None:
        return f"is not trusted ({kind}); check it, and the PEM file of its authority in BACKBURNER_STORE_CA_FILE"
    names = _NAMES_IN_CERTIFICATE.search(said) if kind == "NotValidForName" else None
    return fault if names is None else f"{fault} (it has: {' '.join(names[1].split()).strip(', ')[:200] or 'none'})"


def translated(error: BaseException, provider: Provider = Provider.S3, *, worked: bool = False) -> StoreError:
    """What obstore raised, as one of the product's own errors. `worked`: this process has used the store before."""
    said = str(error)
    line = one_line(error)
    if isinstance(error, FileNotFoundError):
        return Missing()
    if _KEYS_FAILED in said or (worked and _names_metadata_service(said)):
        # They were there at the start: what renews them, such as AWS's token service or a machine's metadata service,
        # may be away as the store may be.
        return StoreError(f"the keys for the object store could not be renewed ({line}); {provider.credentials_remedy}")
    fault = certificate_fault(error)
    if fault is not None:
        return StoreUntrusted(f"the object store's certificate {fault}")
    # Before what is denied: some stores answer 403 for what is over a quota.
    if _FULL.search(said):
        return StoreFull(f"{StoreFull.default_message()} ({line})")
    if (denied := _denied(error, said, line, provider)) is not None:
        return StoreDenied(denied)
    if isinstance(error, ValueError) or _IMPOSSIBLE.search(said):
        return ImpossibleKey(f"{ImpossibleKey.default_message()} ({line})")
    return StoreError(f"the object store failed ({line}); {_REMEDY}")


def _denied(error: BaseException, said: str, line: str, provider: Provider) -> str | None:
    """Why the access is denied, with the remedy; None for errors of other kinds."""
    if _names_metadata_service(said):
        return f"no credentials for the object store were found; {provider.credentials_remedy}"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _DENIED.search(said):
        return f"the object store refused the credentials ({line}); {provider.credentials_remedy}"
    if _READ_ONLY.search(said):
        return f"the folder of BACKBURNER_STORE_URL denied the access; check its owner and mode ({line})"
    return None


def _names_metadata_service(said: str) -> bool:
    return any(address in said for address in _METADATA_SERVICES)


def one_line(error: BaseException) -> str:
    """What happened, without the client's own account of its retries."""
    return re.split(r" Debug source| after \d+ retries|: <\?xml|: <Error", " ".join(str(error).split()))[0][:200]
