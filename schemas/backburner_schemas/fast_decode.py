"""Decodes well-formed envelopes without the full validator. Pure; it refuses nothing: what is unclear goes there.

It exists for the benchmark `control-plane` (docs/benchmarks.md). Nearly every message is a well-formed envelope with
its body inside, and is recognised here in some 2 µs instead of 20. All others, bad ones first of all, are left to the
full validator, so that errors come from one place. What is recognised is decoded as the full validator would have done;
a differential test holds the two together.
"""

from functools import lru_cache
from typing import Any

from backburner_schemas.envelope import MAX_UNIX_SECONDS, VERSION, Address, AnswerMode, Envelope
from backburner_schemas.names import MAX_INDEX, is_index, is_name
from backburner_schemas.request import INPUT_FIELDS, MAX_CUSTOM_ID_CHARACTERS, Endpoint, are_values_fine

_ENDPOINTS = {str(endpoint): endpoint for endpoint in Endpoint}
_ANSWERS = {str(answer): answer for answer in AnswerMode}
_GIVEN = {*Envelope.model_fields}
_new, _set = Envelope.__new__, object.__setattr__
_NAME_CHARACTERS = 255
"""No name is longer: so the cache below has a bound."""


def fast_decode(found: dict[str, Any]) -> Envelope | None:
    """The envelope in a parsed message of a length within the limits, or None where the full validator must check it.

    What `from_json` returned is exactly of these types, so comparing types checks what a strict validator checks.
    """
    try:
        version, tenant, job, index = found["v"], found["tenant"], found["job"], found["index"]
        custom_id, url, body = found["custom_id"], found["url"], found["body"]
    except KeyError:
        return None
    if not (
        type(version) is int
        and VERSION - 1 <= version <= VERSION
        and type(tenant) is str
        and type(job) is str
        and len(tenant) <= _NAME_CHARACTERS
        and len(job) <= _NAME_CHARACTERS
        and _are_names(tenant, job)
        and (0 <= index <= MAX_INDEX if type(index) is int else is_index(index))
        and type(custom_id) is str
        and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS
        and type(url) is str
        and (endpoint := _ENDPOINTS.get(url)) is not None
        and type(body) is dict
        and "body_ref" not in found
    ):
        return None
    get = found.get
    answer, deadline, enqueued_at = get("answer", "segment"), get("deadline"), get("enqueued_at", 0.0)
    if not (
        type(answer) is str
        and (mode := _ANSWERS.get(answer)) is not None
        and (deadline is None or (type(deadline) is float and 0 <= deadline <= MAX_UNIX_SECONDS))
        and type(enqueued_at) is float
        and 0 <= enqueued_at <= MAX_UNIX_SECONDS
        and _may_run(endpoint, body)
    ):
        return None
    envelope = _new(Envelope)
    # What pydantic's own copying does; the values are known to be right.
    _set(
        envelope,
        "__dict__",
        {
            "v": version,
            "tenant": tenant,
            "job": job,
            "index": index,
            "custom_id": custom_id,
            "url": endpoint,
            "body": body,
            "body_ref": None,
            "deadline": deadline,
            "answer": mode,
            "enqueued_at": enqueued_at,
            "address": Address(tenant, job, index, custom_id),
        },
    )
    _set(envelope, "__pydantic_fields_set__", _GIVEN)
    _set(envelope, "__pydantic_extra__", None)
    _set(envelope, "__pydantic_private__", None)
    return envelope


@lru_cache(maxsize=1024)
def _are_names(tenant: str, job: str) -> bool:
    """Cached, since the same few pairs come again and again."""
    return is_name(tenant) and is_name(job)


def _may_run(endpoint: Endpoint, body: dict[str, Any]) -> bool:
    """Whether `check_body` and `check_values` would accept it."""
    model = body.get("model")
    if type(model) is not str or not model or body.get("stream"):
        return False
    # A loop, since most have the first.
    for name in INPUT_FIELDS[endpoint]:
        if name in body:
            return are_values_fine(body)
    return False
