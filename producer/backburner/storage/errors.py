"""What an object store's refusals mean: away, full, denied or missing. It makes no request."""

import re

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from backburner_schemas.errors import StoreDenied, StoreError, StoreFull

_METADATA_SERVICE = "169.254.169.254"
_REMEDY = "check BACKBURNER_STORE_URL, BACKBURNER_STORE_ENDPOINT and that the store is up"
# Stores report it by the status, by a code of their own under several statuses, and a file system by its error number.
# Keys are percent-encoded, so that none of these can come from a name in a key.
_FULL = re.compile(
    r"status code: 507 |<Code>\w*(?:QuotaExceeded|StorageFull|InsufficientStorage|InsufficientCapacity)\w*</Code>"
    r"|\(os error (?:28|122)\)"
)
# A refused listing is raised as an error without a kind of its own.
_DENIED = re.compile(r"status code: (?:401|403) ")
_READ_ONLY = re.compile(r"LocalFileSystem error: .*\(os error (?:1|13|30)\)", re.DOTALL)


class Missing(StoreError):
    """The object is not there."""


class ObjectReplaced(StoreError):
    """The object was replaced while it was read; read it again."""


class ImpossibleKey(StoreError):
    """No object can have such a key; check BACKBURNER_STORE_URL and the names in the key."""

    retryable = False


class ForeignKey(StoreError):
    """An object of another tenant was asked for; this is a bug in Backburner: please report it."""

    retryable = False
    http_status = 500


def translated(error: BaseException) -> StoreError:
    """What obstore raised, as one of the product's own errors."""
    said = str(error)
    line = one_line(error)
    if isinstance(error, FileNotFoundError):
        return Missing()
    if _METADATA_SERVICE in said:
        return StoreDenied(
            "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this pod a role"
        )
    # Before what is denied: some stores answer 403 for what is over a quota.
    if _FULL.search(said):
        return StoreFull(f"{StoreFull.default_message()} ({line})")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _DENIED.search(said):
        return StoreDenied(f"{StoreDenied.default_message()} ({line})")
    if _READ_ONLY.search(said):
        return StoreDenied(f"the folder of BACKBURNER_STORE_URL denied the access; check its owner and mode ({line})")
    if isinstance(error, ValueError):
        return ImpossibleKey(f"{ImpossibleKey.default_message()} ({line})")
    return StoreError(f"the object store failed ({line}); {_REMEDY}")


def one_line(error: BaseException) -> str:
    """What happened, without the client's own account of its retries."""
    return re.split(r" Debug source| after \d+ retries|: <\?xml|: <Error", " ".join(str(error).split()))[0][:200]
