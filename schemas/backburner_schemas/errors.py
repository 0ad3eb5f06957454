"""The tree of errors. Each class states what went wrong, whether a retry can help, and what to do about it.

A class's docstring is its default message and names the remedy. `code` is stable: it is what users match on
in result records and in HTTP answers. Nothing here knows how an error is shown or stored.

    BackburnerError
    ├── RequestRefused        the request's own fault: never retried
    ├── Undeliverable         a message that has no address: dead-lettered
    ├── Unanswered            a job ended before the request was answered
    ├── JobError              a whole job cannot be created, found or resumed
    ├── PoolError             no pool serves this model
    ├── CallRefused           a call of the gateway's API cannot be served as it is
    ├── CallerError           who calls the gateway is not known, not allowed, or over a limit
    ├── EngineError           the engine failed: mostly retried
    ├── QueueError            the broker failed: retried
    ├── StoreError            the object store failed: retried
    ├── KubernetesError       the cluster's API failed or refused
    ├── ModelError            a model cannot be fetched
    ├── SettingsError         a setting is unknown or cannot be used
    ├── ClientError           a client of the SDK is used where it cannot work
    └── TemporaryFilesError   what is too large for the memory has no room on the disk either
"""

from collections.abc import Iterator, Mapping
from linecache import getline
from traceback import walk_tb
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

UNUSABLE_STATUS = 2
"""Exit status of a worker that cannot use a setting or what is installed: another start ends the same way until someone
changes it.

The command line exits with the same for what it cannot use. For any other reason a worker exits with 1.
"""
_MAX_PARAM_CHARACTERS = 128
_CUT = "…"
_OWN_PACKAGES = frozenset({"backburner", "backburner_schemas", "backburner_worker"})

ErrorT = TypeVar("ErrorT", bound="BackburnerError")


def cut(text: str, max_bytes: int) -> str:
    """The text, or as much of its beginning as fits into so many bytes of UTF-8 with a sign that it was cut."""
    if len(text) * 4 <= max_bytes:
        return text
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _callers_line(traceback: TracebackType | None) -> Iterator[str]:
    """The line that called into Backburner, if there is one: the last that is not part of it."""
    found = None
    for frame, number in walk_tb(traceback):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] in _OWN_PACKAGES:
            break
        found = (frame.f_code.co_filename, number)
    if found is not None and (line := getline(*found).strip()):
        yield f"----> {found[1]} {line}"


class BackburnerError(Exception):
    """Something failed inside Backburner; run again with -v for the cause."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500
    max_message_bytes: ClassVar[int] = 16_384
    """A longer message is cut: what it quotes may come from anywhere."""
    quotes_callers: ClassVar[bool] = False
    """Whether its message may quote what a caller sent, so that it belongs into the caller's record, and in no log."""

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = cut(message, self.max_message_bytes) if message else self.default_message()
        self.param = param[:_MAX_PARAM_CHARACTERS] if param else param
        self.job_id: str | None = None
        """The job that it is about, where there is one: what the caller needs to go on."""
        super().__init__(self.message)

    def _render_traceback_(self) -> list[str]:
        """What IPython, and so a notebook, shows: the caller's line and the message, which says what to do."""
        return [*_callers_line(self.__traceback__), f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]

    def of_job(self, job_id: str, remedy: str = "") -> Self:
        """The same error, about that job: its message ends with the remedy, or names the job if it did not."""
        if self.job_id is None:
            self.job_id = job_id
            named = remedy or ("" if job_id in self.message else f"the job is {job_id}")
            if named:
                room = self.max_message_bytes - len(f"; {named}".encode())
                self.message = f"{cut(self.message, room)}; {named}"
                self.args = (self.message,)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever its own `__init__` takes: process pools hand errors on."""
        return _unpickled, (type(self), self.args), self.__dict__

    @classmethod
    def default_message(cls) -> str:
        """The class's docstring, as one line."""
        return " ".join((cls.__doc__ or cls.__name__).split())


def _unpickled(kind: type[BackburnerError], arguments: tuple[Any, ...]) -> BackburnerError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


# --- the request's own fault ------------------------------------------------------------------------------


class RequestRefused(BackburnerError):
    """The request cannot be run as it is; correct it and submit it again."""

    code = "invalid_request"
    http_status = 400
    max_message_bytes = 1024
    quotes_callers = True


class InvalidJson(RequestRefused):
    """The line is not a JSON object; write one JSON object a line, in UTF-8."""

    code = "invalid_json"


class DuplicateCustomId(RequestRefused):
    """The custom_id was used before in this job; make each custom_id unique."""

    code = "duplicate_custom_id"


class UnknownEndpoint(RequestRefused):
    """The url names no endpoint that is served here."""

    code = "unknown_endpoint"


class BodyTooLarge(RequestRefused):
    """The body is over the size limit; send less, or raise BACKBURNER_MAX_BODY_BYTES on both sides."""

    code = "body_too_large"


class MessageTooLarge(RequestRefused):
    """The request's message is over the queue's limit, though its body is stored; raise the topic's size limit."""

    code = "message_too_large"
    http_status = 413


class BodyTooComplex(RequestRefused):
    """The request's body has too many objects and lists; send less in one request."""

    code = "body_too_complex"


class UnsupportedParameter(RequestRefused):
    """The body has a parameter that is not on the worker's list; remove it, or ask the operator to allow it."""

    code = "unsupported_parameter"


class ModelNotFound(RequestRefused):
    """The worker does not serve this model; name one that `backburner topics ensure` created a pool for."""

    code = "model_not_found"
    http_status = 404


class ContextLengthExceeded(RequestRefused):
    """The prompt and the answer do not fit the model's context; shorten the prompt or lower max_tokens."""

    code = "context_length_exceeded"


# --- messages that have no address ------------------------------------------------------------------------


class Undeliverable(BackburnerError):
    """The message cannot be addressed to any request; inspect the dead letter and correct the producer."""

    code = "unaddressable"
    http_status = 400
    max_message_bytes = 1024
    quotes_callers = True


class UnsupportedVersion(Undeliverable):
    """The envelope's version is newer than this worker's; upgrade the workers before the producers."""

    code = "unsupported_version"


class UndecodableRecord(Undeliverable):
    """The record cannot be decoded, or would take too much memory; correct its producer, and send it again."""

    code = "undecodable"


class TenantNotAllowed(Undeliverable):
    """This queue may not carry that tenant; add it to BACKBURNER_ALLOWED_TENANTS, or correct the producer."""

    code = "tenant_not_allowed"
    http_status = 403


# --- a job ended first ------------------------------------------------------------------------------------


class Unanswered(BackburnerError):
    """The job ended before this request was answered; submit it again."""

    code = "unanswered"


class Expired(Unanswered):
    """The deadline passed before the request was run; submit it again with a later deadline."""

    code = "expired"
    http_status = 408


class Cancelled(Unanswered):
    """The job was cancelled before the request was run."""

    code = "cancelled"
    http_status = 409


class ProducerAbandoned(Unanswered):
    """The producer stopped before it had sent the whole job; submit again with the same job id to resume."""

    code = "producer_abandoned"


# --- whole jobs -------------------------------------------------------------------------------------------


class JobError(BackburnerError):
    """The job cannot be created, found or changed."""

    code = "job_error"
    http_status = 400


class InvalidInput(JobError):
    """The input has lines that cannot be accepted; correct them, or pass --skip-invalid to send the rest."""

    code = "invalid_input"


class JobNotFound(JobError):
    """There is no job with this id; `backburner jobs` lists those of the tenant."""

    code = "job_not_found"
    http_status = 404


class LetterNotFound(JobError):
    """There is no dead letter with this id; `backburner dlq list` lists those that exist."""

    code = "letter_not_found"
    http_status = 404


class JobConflict(JobError):
    """A job with this id was made from another input; choose another job id, or submit the same input."""

    code = "job_conflict"
    http_status = 409


class RequestFailed(JobError):
    """The request ended with an error; its record has the details."""

    code = "request_failed"
    http_status = 422


class ResultTimeout(JobError, TimeoutError):
    """No result within the time given; it may still come: ask again with the same handle or job id."""

    code = "result_timeout"
    http_status = 408


class PoolError(BackburnerError):
    """No pool can serve this request."""

    code = "pool_error"
    http_status = 400


class PoolNotFound(PoolError):
    """No pool serves this model; create one with `backburner topics ensure --pool MODEL`."""

    code = "pool_not_found"
    http_status = 404


class PoolConflict(PoolError):
    """Another model already has this pool; two served names may not differ in letter case alone."""

    code = "pool_conflict"
    http_status = 409


# --- calls of the gateway's API ---------------------------------------------------------------------------


class CallRefused(BackburnerError):
    """The call cannot be served as it is; correct it and call again."""

    code = "invalid_call"
    http_status = 400
    quotes_callers = True


class UnknownUrl(CallRefused):
    """Nothing is served under this URL; `GET /openapi.json` says what there is."""

    code = "unknown_url"
    http_status = 404


class MethodNotAllowed(CallRefused):
    """This URL does not take that method; `GET /openapi.json` says which it takes."""

    code = "method_not_allowed"
    http_status = 405


class FileNotFound(CallRefused):
    """There is no file with this id; `GET /v1/files` lists those that exist."""

    code = "file_not_found"
    http_status = 404


class UploadNotFound(CallRefused):
    """There is no upload with this id; begin one with `POST /v1/uploads`."""

    code = "upload_not_found"
    http_status = 404


class RequestNotFound(CallRefused):
    """There is no request with this id; it is in the answer to the call that made it."""

    code = "request_not_found"
    http_status = 404


class CallTooSlow(CallRefused):
    """The body came too slowly, or not at all; send it again, at once."""

    code = "call_too_slow"
    http_status = 408


class IdempotencyConflict(CallRefused):
    """This Idempotency-Key came before with other content; choose a new key for each new call."""

    code = "idempotency_conflict"
    http_status = 409


class CallTooLarge(CallRefused):
    """The body of the call is over the limit; send less at once."""

    code = "call_too_large"
    http_status = 413


class EncodingRefused(CallRefused):
    """The body is compressed; send it as it is, without Content-Encoding."""

    code = "encoding_refused"
    http_status = 415


class HeadersTooLarge(CallRefused):
    """The headers are over the limit; send fewer or shorter ones."""

    code = "headers_too_large"
    http_status = 431


class Overloaded(CallRefused):
    """The gateway has as many calls or answers under way as it takes; call again after the time in Retry-After."""

    code = "overloaded"
    retryable = True
    http_status = 503


# --- who calls the gateway --------------------------------------------------------------------------------


class CallerError(BackburnerError):
    """The caller may not do this."""

    code = "caller_error"
    http_status = 403


class Unauthenticated(CallerError):
    """The API key or token is not accepted; send a valid one as `Authorization: Bearer …`."""

    code = "invalid_api_key"
    http_status = 401


class PermissionDenied(CallerError):
    """The API key or token lacks the scope for this; use one that has it."""

    code = "permission_denied"
    http_status = 403


class ApiKeyNotFound(CallerError):
    """There is no API key with this id; `backburner keys list` shows those that there are."""

    code = "api_key_not_found"
    http_status = 404


class IdentityUnavailable(CallerError):
    """The issuer of tokens does not answer, so that none can be checked; try again, or use an API key."""

    code = "identity_unavailable"
    retryable = True
    http_status = 503


class RateLimited(CallerError):
    """Requests come faster than the caller's quota allows; wait for the time in Retry-After."""

    code = "rate_limit_exceeded"
    retryable = True
    http_status = 429

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after
        """Seconds until it may work."""
        self.headers = dict(headers or {})
        """What else the answer says of the limit: `x-ratelimit-…`."""


class QuotaExceeded(RateLimited):
    """The tenant's quota is used up; wait until its jobs are done, or delete what it has stored."""

    code = "insufficient_quota"


class EngineError(BackburnerError):
    """The engine failed on this request."""

    code = "engine_error"
    retryable = True
    max_message_bytes = 1024
    quotes_callers = True
    max_attempts: ClassVar[int | None] = None
    """Attempts that end so after which it is given up, where that is earlier than for others."""


class EngineLost(EngineError):
    """The engine died and takes no more requests; the worker ends and its supervisor starts a new one."""

    code = "engine_lost"
    http_status = 503


class PoisonRequest(EngineError):
    """The request ran alone and the engine or its worker died; redrive it only to an engine that can take it."""

    code = "poison"
    retryable = False
    http_status = 422


class RunsElsewhere(EngineError):
    """Another worker runs a copy of this suspect, alone in its engine; this one is tried again a minute later."""

    code = "runs_elsewhere"
    http_status = 409


class EngineBusy(EngineError):
    """The engine refused the request for lack of capacity; it is retried."""

    code = "engine_busy"
    http_status = 429


class GenerationAborted(EngineError):
    """The engine aborted the generation before its end; it is retried."""

    code = "generation_aborted"
    http_status = 503


class GenerationTooLong(EngineError):
    """The generation took far longer than the tokens that it asks for, and was aborted; ask for fewer."""

    code = "generation_too_long"
    http_status = 504
    max_attempts = 2


# --- Kubernetes' API --------------------------------------------------------------------------------------


class KubernetesError(BackburnerError):
    """Kubernetes' API failed; check the cluster."""

    code = "kubernetes_error"


class KubernetesUnavailable(KubernetesError):
    """Kubernetes' API did not answer; the call can be made again."""

    code = "kubernetes_unavailable"
    http_status = 503
    retryable = True


class KubernetesRefused(KubernetesError):
    """Kubernetes' API refused the call; check the rights of the pod's service account."""

    code = "kubernetes_refused"


# --- fetching a model -------------------------------------------------------------------------------------


class ModelError(BackburnerError):
    """The model cannot be fetched; check BACKBURNER_MODEL_SOURCE and BACKBURNER_MODEL."""

    code = "model_error"


class ModelSourceUnavailable(ModelError):
    """The source of the model did not answer; check BACKBURNER_MODEL_SOURCE, and that it is up."""

    code = "model_source_unavailable"
    retryable = True
    http_status = 503


class ModelSourceRefused(ModelError):
    """The source of the model cannot be used as it is; check BACKBURNER_MODEL_SOURCE and the credentials for it."""

    code = "model_source_refused"


class ModelChecksumWrong(ModelError):
    """A file of the model has another checksum than it should have; check the source and BACKBURNER_MODEL_CHECKSUM."""

    code = "model_checksum_wrong"


class ModelFolderUnusable(ModelError):
    """The folder of the model cannot be made; check BACKBURNER_MODEL, the volume's owner and the room on it."""

    code = "model_folder_unusable"


# --- the systems around -----------------------------------------------------------------------------------


class QueueError(BackburnerError):
    """The broker did not accept or deliver a message; check BACKBURNER_QUEUE_URL and that the broker is up."""

    code = "queue_unavailable"
    retryable = True
    http_status = 503


class QueueDenied(QueueError):
    """The broker refused the credentials, or denied a right; check BACKBURNER_KAFKA_SECURITY_… and docs/kafka.md."""

    code = "queue_denied"
    retryable = False
    http_status = 403


class StoreError(BackburnerError):
    """The object store did not answer; check BACKBURNER_STORE_URL and that the store is up."""

    code = "store_unavailable"
    retryable = True
    http_status = 503


class StoreDenied(StoreError):
    """The object store refused the credentials; check those of its provider, which docs/stores.md lists."""

    code = "store_denied"
    retryable = False
    http_status = 403


class StoreUntrusted(StoreDenied):
    """The object store's certificate is not trusted; name its authority's PEM file in BACKBURNER_STORE_CA_FILE."""

    code = "store_untrusted"


class StoreFull(StoreError):
    """The object store has no room left; make room and start the workers again: nothing is settled until then."""

    code = "store_full"
    retryable = False
    http_status = 507


class StoredObjectBroken(StoreError):
    """An object in the store cannot be read; find out what wrote it, and restore or remove it."""

    code = "store_object_broken"
    retryable = False
    http_status = 500


class SettingsError(BackburnerError):
    """A setting is unknown or cannot be used."""

    code = "invalid_setting"


class ClientError(BackburnerError, RuntimeError):
    """The client cannot be used here; create another one where it is needed."""

    code = "client_error"


class ClientClosed(ClientError):
    """The client is closed; create a new one."""

    code = "client_closed"


class TemporaryFilesError(BackburnerError):
    """Temporary files cannot be written; make room in the folder for them, or set TMPDIR to one that has some."""

    code = "temporary_files"
