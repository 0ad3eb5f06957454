"""The tree of errors: stable codes, sound statuses, messages that help, and a picture that is true."""

import copy
import pickle
import re

import pytest

from backburner_schemas import errors
from backburner_schemas.errors import BackburnerError


def below(kind):
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


TREE = [BackburnerError, *below(BackburnerError)]


def test_every_error_of_the_module_is_in_the_tree():
    found = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert found == set(TREE)


def test_codes_are_unique_and_stable():
    assert {kind.__name__: kind.code for kind in TREE} == {
        "BackburnerError": "internal_error",
        "ClientError": "client_error",
        "ClientClosed": "client_closed",
        "RequestRefused": "invalid_request",
        "InvalidJson": "invalid_json",
        "DuplicateCustomId": "duplicate_custom_id",
        "UnknownEndpoint": "unknown_endpoint",
        "BodyTooLarge": "body_too_large",
        "UnsupportedParameter": "unsupported_parameter",
        "ModelNotFound": "model_not_found",
        "ContextLengthExceeded": "context_length_exceeded",
        "Undeliverable": "unaddressable",
        "UndecodableRecord": "undecodable",
        "UnsupportedVersion": "unsupported_version",
        "TenantNotAllowed": "tenant_not_allowed",
        "Unanswered": "unanswered",
        "Expired": "expired",
        "Cancelled": "cancelled",
        "ProducerAbandoned": "producer_abandoned",
        "JobError": "job_error",
        "InvalidInput": "invalid_input",
        "JobNotFound": "job_not_found",
        "LetterNotFound": "letter_not_found",
        "JobConflict": "job_conflict",
        "RequestFailed": "request_failed",
        "ResultTimeout": "result_timeout",
        "PoolError": "pool_error",
        "PoolNotFound": "pool_not_found",
        "PoolConflict": "pool_conflict",
        "CallRefused": "invalid_call",
        "UnknownUrl": "unknown_url",
        "MethodNotAllowed": "method_not_allowed",
        "FileNotFound": "file_not_found",
        "UploadNotFound": "upload_not_found",
        "RequestNotFound": "request_not_found",
        "CallTooSlow": "call_too_slow",
        "IdempotencyConflict": "idempotency_conflict",
        "CallTooLarge": "call_too_large",
        "EncodingRefused": "encoding_refused",
        "HeadersTooLarge": "headers_too_large",
        "Overloaded": "overloaded",
        "CallerError": "caller_error",
        "Unauthenticated": "invalid_api_key",
        "PermissionDenied": "permission_denied",
        "ApiKeyNotFound": "api_key_not_found",
        "IdentityUnavailable": "identity_unavailable",
        "RateLimited": "rate_limit_exceeded",
        "QuotaExceeded": "insufficient_quota",
        "EngineError": "engine_error",
        "EngineLost": "engine_lost",
        "PoisonRequest": "poison",
        "EngineBusy": "engine_busy",
        "GenerationAborted": "generation_aborted",
        "QueueError": "queue_unavailable",
        "QueueDenied": "queue_denied",
        "StoreError": "store_unavailable",
        "StoreDenied": "store_denied",
        "StoreUntrusted": "store_untrusted",
        "StoreFull": "store_full",
        "StoredObjectBroken": "store_object_broken",
        "ModelError": "model_error",
        "ModelChecksumWrong": "model_checksum_wrong",
        "ModelFolderUnusable": "model_folder_unusable",
        "ModelSourceRefused": "model_source_refused",
        "ModelSourceUnavailable": "model_source_unavailable",
        "GenerationTooLong": "generation_too_long",
        "KubernetesError": "kubernetes_error",
        "KubernetesUnavailable": "kubernetes_unavailable",
        "KubernetesRefused": "kubernetes_refused",
        "SettingsError": "invalid_setting",
        "TemporaryFilesError": "temporary_files",
        "BodyTooComplex": "body_too_complex",
        "MessageTooLarge": "message_too_large",
        "RunsElsewhere": "runs_elsewhere",
    }
    assert len({kind.code for kind in TREE}) == len(TREE)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_has_a_message_of_one_line_and_a_sound_status(kind):
    error = kind()
    assert error.message == str(error) == kind.default_message()
    assert "\n" not in error.message
    assert error.message.endswith(".")
    assert kind.__doc__ != (kind.__base__.__doc__ or "")
    assert kind.http_status in range(400, 600)
    assert re.fullmatch(r"[a-z_]+", kind.code)


def test_a_message_and_a_field_of_its_own_are_kept():
    error = errors.RequestRefused("no", param="model")
    assert (error.message, str(error), error.param, error.code) == ("no", "no", "model", "invalid_request")


def test_only_failures_of_systems_and_full_services_are_worth_a_retry():
    retried = {kind for kind in TREE if kind.retryable}
    assert errors.StoreDenied not in retried
    systems = (
        errors.EngineError,
        errors.KubernetesUnavailable,
        errors.ModelSourceUnavailable,
        errors.QueueError,
        errors.StoreError,
    )
    passing = {errors.IdentityUnavailable, errors.Overloaded, errors.QuotaExceeded, errors.RateLimited}
    assert {kind for kind in retried if not issubclass(kind, systems)} == passing


def test_the_picture_at_the_top_of_the_module_shows_every_branch():
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__))
    assert drawn == {kind.__name__ for kind in BackburnerError.__subclasses__() if kind.__module__ == errors.__name__}


def test_a_message_is_cut_where_it_may_quote_what_others_sent():
    long = "é" * 100_000
    for kind in (errors.EngineError, errors.RequestRefused, errors.Undeliverable):
        message = kind(long, param="p" * 1000).message
        assert len(message.encode()) <= 1024
        assert message.startswith("éé")
        assert message.endswith("…")
        assert len(kind(long, param="p" * 1000).param) == 128
    assert len(errors.SettingsError(long).message.encode()) <= 16_384
    assert errors.EngineError("short").message == "short"


def test_a_text_is_cut_between_characters_and_not_before_it_must():
    assert errors.cut("é" * 10, 20) == "é" * 10
    assert errors.cut("é" * 11, 20) == "é" * 8 + "…"
    assert errors.cut("a\ud800" * 20, 20).encode()


@pytest.mark.parametrize("kind", TREE)
def test_every_error_survives_a_process_pool(kind):
    error = kind("what happened; what to do", param="body").of_job("batch_1")
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.__dict__) == (kind, str(error), error.__dict__)
    assert copy.copy(error).job_id == "batch_1"


def test_an_error_about_a_job_names_it_and_the_remedy_however_long_it_is():
    error = errors.RequestRefused("x" * 2000).of_job("batch_1", "submit again with --job-id batch_1")
    assert error.message.endswith("…; submit again with --job-id batch_1")
    assert str(error) == error.message
    assert len(error.message.encode()) <= error.max_message_bytes
    assert errors.JobError("there is no job batch_1").of_job("batch_1").message == "there is no job batch_1"
    # The first to know counts.
    assert error.of_job("batch_2", "nothing").job_id == "batch_1"
