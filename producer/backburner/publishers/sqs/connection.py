"""How all of Backburner reaches SQS, from the settings, and what SQS's refusals mean. It sends nothing itself."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from backburner.credentials.aws import renewing_session
from backburner.settings import Queue, QueueKind, Settings
from backburner_schemas.errors import QueueError, SettingsError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

FAILURES = (BotoCoreError, ClientError, ResponseParserError)
"""All that a call of the client raises."""

_CONNECT_SECONDS = 5.0
_METADATA_PROVIDER = "iam-role"
"""The link of AWS's credential chain that queries the metadata service of the machine."""
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "KMS.AccessDeniedException"})
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "MissingAuthenticationToken",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def sqs_session(settings: Settings) -> boto3.Session:
    """A session with AWS's own chain of credentials. Makes no request to SQS.

    Raises `SettingsError` if the queue is not SQS's, or an endpoint that is none of AWS's has no credentials: then the
    chain would ask AWS's metadata service on a machine that has none.
    """
    queue = _queue(settings)
    inner = renewing_session()
    if (own := settings.aws) is not None:
        inner.set_credentials(own.key_id, own.secret, own.session_token)
    endpoint = _endpoint(queue)
    if endpoint is not None and not _is_of_aws(endpoint):
        inner.get_component("credential_provider").remove(_METADATA_PROVIDER)
        try:
            found = inner.get_credentials()
        except BotoCoreError as error:
            raise SettingsError(
                f"AWS's credentials cannot be used: {message_of(error)}; correct the profile"
            ) from error
        if found is None:
            raise SettingsError(
                f"no credentials for SQS at {endpoint}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
    return boto3.Session(botocore_session=inner)


def sqs_client(
    session: boto3.Session, settings: Settings, *, connections: int, read_seconds: float, attempts: int
) -> "SQSClient":
    """A client that threads can share: so many connections, and so long and so many tries for each call.

    Blocks for a moment, while AWS's description of SQS is loaded. Raises `SettingsError`.
    """
    queue = _queue(settings)
    try:
        return session.client(
            "sqs",
            region_name=queue.region,
            endpoint_url=_endpoint(queue),
            verify=_authorities(settings, queue),
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=read_seconds,
                max_pool_connections=connections,
                retries={"mode": "standard", "total_max_attempts": attempts},
                tcp_keepalive=True,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"BACKBURNER_QUEUE_URL {settings.queue_url!r} cannot be used: {message_of(error)}"
        ) from error


def queue_error(settings: Settings, error: BaseException) -> QueueError:
    """The error to raise when SQS could not be used."""
    if is_denied(error):
        return QueueError(
            f"SQS denied the access ({message_of(error)}); allow this identity the actions in docs/sqs.md"
        )
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return QueueError(
            f"no AWS credentials can be used ({message_of(error)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give this pod a role"
        )
    if code_of(error) in _BAD_CREDENTIALS:
        return QueueError(
            f"SQS refused the credentials ({message_of(error)}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if is_missing(error):
        return QueueError(
            f"a queue of the pool is gone ({code_of(error)}); create it with `backburner topics ensure --pool MODEL`"
        )
    if _is_untrusted(error):
        return QueueError(
            f"the certificate of {settings.queue_url} is not trusted ({message_of(error)}); name a PEM file with the "
            "server's authority in BACKBURNER_STORE_CA_FILE"
        )
    if isinstance(error, ClientError):
        return QueueError(f"SQS refused the call: {message_of(error)}")
    return QueueError(
        f"SQS does not answer at {settings.queue_url} ({message_of(error)}); check BACKBURNER_QUEUE_URL and the network"
    )


def is_missing(error: BaseException) -> bool:
    """Whether the queue does not exist."""
    return code_of(error) in _MISSING


def is_denied(error: BaseException) -> bool:
    """Whether this identity may not do it."""
    code = code_of(error)
    return code in _DENIED or code.startswith(("Kms", "KMS."))


def is_lasting(error: BaseException) -> bool:
    """Whether a retry cannot help until somebody changes a setting, a permission or the credentials."""
    return (
        is_denied(error)
        or code_of(error) in _BAD_CREDENTIALS
        or isinstance(error, (NoCredentialsError, PartialCredentialsError))
        or _is_untrusted(error)
    )


def code_of(error: BaseException) -> str:
    """AWS's code of a refusal; empty for other errors."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def message_of(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, ClientError):
        found = error.response.get("Error", {})
        return f"{found.get('Code', 'Unknown')}: {' '.join(str(found.get('Message', '')).split())[:300]}"
    return " ".join(str(error).split())[:300] or type(error).__name__


def _queue(settings: Settings) -> Queue:
    queue = settings.queue
    if queue.kind is not QueueKind.SQS:
        raise SettingsError(f"BACKBURNER_QUEUE_URL {settings.queue_url!r} is not SQS's; set sqs://region")
    return queue


def _endpoint(queue: Queue) -> str | None:
    return queue.endpoint or os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")


def _is_of_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(_AWS_DOMAINS)


def _authorities(settings: Settings, queue: Queue) -> str | None:
    """The file whose authorities alone a server that is not AWS's is trusted by; None for the client's own choice."""
    endpoint, found = _endpoint(queue), settings.store_authorities
    if endpoint is None or found is None or _is_of_aws(endpoint) or not endpoint.startswith("https://"):
        return None
    found.read()
    return str(found.path)


def _is_untrusted(error: BaseException) -> bool:
    return isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
