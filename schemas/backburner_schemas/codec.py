"""From envelopes to bytes on the broker and back. Pure; whatever arrives is checked, and nothing of it is trusted."""

import codecs
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from backburner_schemas import keys
from backburner_schemas.envelope import (
    MAX_AMONG_COUNT,
    MAX_ATTEMPTS,
    MAX_FAILURES,
    MAX_UNIX_SECONDS,
    VERSION,
    Address,
    AnswerMode,
    DeliveryFacts,
    Envelope,
    is_place,
)
from backburner_schemas.errors import (
    BackburnerError,
    BodyTooComplex,
    InvalidJson,
    RequestRefused,
    TenantNotAllowed,
    Undeliverable,
    UnsupportedVersion,
)
from backburner_schemas.fast_decode import fast_decode
from backburner_schemas.names import Lane, is_index, is_name
from backburner_schemas.request import (
    DEFAULT_MAX_BODY_BYTES,
    ENVELOPE_BYTES,
    MAX_CUSTOM_ID_CHARACTERS,
    check_body,
    check_parsed_size,
    check_request,
    check_size,
    check_values,
    refusal,
)

_MAX_PLACES_BYTES = 2048
_TRACE = re.compile(rb"[!-~]{1,256}")
"""What every queue takes back: it goes on with a retry, and SQS refuses most control characters."""
_HEAD_BYTES = 4096
"""Of a message that is not parsed: an envelope's address takes less, and stands in front of its body."""
_REGISTRY_BYTES = 5
"""A zero byte and the schema's id, before what Confluent's serializers write."""
MAX_RETRY_DELAY_SECONDS = 60.0
"""Seconds that a retry may be held back: from its record's timestamp, and from when it is first seen."""


@dataclass(slots=True, unsafe_hash=True)  # a value; frozen, it would cost three times as much to create
class Origin:
    """Where a message was found; a message without an address gets its address from here. Never changed."""

    queue: str
    """Topic or queue name."""
    position: str
    """Partition and offset as `{partition}-{offset}`, or the message id."""
    timestamp: float
    """Unix seconds that the broker or the producer stamped on the record."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a worker accepts from its queue."""

    tenant: str = "default"
    """Tenant of messages that name none."""
    allowed_tenants: frozenset[str] = frozenset()
    """Tenants that this queue may carry; empty means any."""
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES


@dataclass(slots=True, unsafe_hash=True)  # as an origin: each delivery turns into one while its outcome is stored
class Refused:
    """A message that has an address but cannot be run: it ends as one error record. Never changed."""

    address: Address
    error: BackburnerError
    answer: AnswerMode = AnswerMode.SEGMENT
    """Where the sender looks for the record."""


@dataclass(frozen=True, slots=True)
class Unaddressed:
    """A message that belongs to no request: it ends as one dead letter."""

    error: BackburnerError


Decoded = Envelope | Refused | Unaddressed


def encode(envelope: Envelope) -> bytes:
    """The envelope's JSON in UTF-8, without fields of its own that are null; NaN and infinities become null.

    Raises `RequestRefused` for a body with something that JSON cannot hold, such as half a surrogate pair.
    """
    try:
        return to_json(envelope.model_dump(exclude_none=True), inf_nan_mode="null")
    except PydanticSerializationError as error:
        raise RequestRefused(f"the body cannot be written as JSON: {error}", param="body") from error


def decode(value: bytes | None, origin: Origin, rules: Rules) -> Decoded:
    """Decode one message: an envelope, a plain OpenAI batch line, a refusal with an address, or a letter without."""
    if value is None:
        return Unaddressed(Undeliverable("the message is empty; send a JSON object"))
    if value[:1] != b"{":
        value = _unframed(value)
    try:
        check_parsed_size(value, rules.max_body_bytes + ENVELOPE_BYTES)
        found = from_json(value, allow_inf_nan=False)
    except BodyTooComplex as error:
        return _too_complex(value, origin, rules, error)
    except ValueError as error:
        return Unaddressed(Undeliverable(f"the message is not JSON ({error}); send a JSON object in UTF-8"))
    if not isinstance(found, dict):
        return Unaddressed(Undeliverable("the message is not a JSON object; send an envelope or a batch line"))
    if "v" in found:
        if len(value) <= rules.max_body_bytes + ENVELOPE_BYTES:
            envelope = fast_decode(found)
            if envelope is not None and (not rules.allowed_tenants or envelope.tenant in rules.allowed_tenants):
                return envelope
        return _decode_envelope(value, found, rules)
    return _decode_line(value, found, origin, rules)


def _too_complex(value: bytes, origin: Origin, rules: Rules, error: BodyTooComplex) -> Decoded:
    """What becomes of a message that is not parsed: its address is looked for where producers write it, in front."""
    try:
        head = from_json(value[:_HEAD_BYTES].decode(errors="ignore"), allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return Unaddressed(error)
    if not isinstance(head, dict):
        return Unaddressed(error)
    if "v" in head:
        return _decode_envelope(value, head, rules, error)
    return _decode_line(value, head, origin, rules, error)


def _unframed(value: bytes) -> bytes:
    """The JSON object in what Schema Registry's serializers, and editors, put before it; else the value as it is."""
    inner = (value[_REGISTRY_BYTES:] if value[:1] == b"\x00" else value).removeprefix(codecs.BOM_UTF8)
    return inner if inner.lstrip(b" \t\r\n")[:1] == b"{" else value


def parse_body(data: bytes, max_bytes: int) -> dict[str, Any]:
    """The body in an object that a claim check names. Raises `RequestRefused` as for a body on the queue."""
    check_size(data, max_bytes)
    check_parsed_size(data, max_bytes)
    try:
        body = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"the stored body is not JSON ({error})", param="body_ref") from error
    if not isinstance(body, dict):
        raise InvalidJson("the stored body is not a JSON object", param="body_ref")
    check_values(body)
    return body


def _decode_envelope(value: bytes, found: dict[str, Any], rules: Rules, fault: RequestRefused | None = None) -> Decoded:
    """The envelope, or what is wrong with it; `fault` is what is known to be, and then its body may be missing."""
    version = found["v"]
    if not isinstance(version, int) or isinstance(version, bool) or version < VERSION - 1:
        return Unaddressed(Undeliverable(f"the envelope's version v is unknown; write {VERSION}"))
    if version > VERSION:
        return Unaddressed(
            UnsupportedVersion(
                f"envelope version {version} is newer than this worker's {VERSION}; upgrade the workers first"
            )
        )
    tenant, job, index = found.get("tenant"), found.get("job"), found.get("index")
    if not (is_name(tenant) and is_name(job) and is_index(index)):
        return Unaddressed(Undeliverable("the envelope's tenant, job or index is missing or not a valid name"))
    assert isinstance(tenant, str)
    assert isinstance(job, str)
    assert isinstance(index, (int, str))
    if rules.allowed_tenants and tenant not in rules.allowed_tenants:
        return Unaddressed(TenantNotAllowed())
    address = Address(tenant, job, index, _custom_id(found))
    if fault is not None:
        return Refused(address, fault, _answer_mode(found))
    try:
        check_size(value, rules.max_body_bytes + ENVELOPE_BYTES)
        envelope = Envelope.model_validate(found)
        if envelope.body is not None:
            check_values(envelope.body)
            check_body(envelope.url, envelope.body)
        else:
            _check_reference(envelope)
    except ValidationError as error:
        return Refused(address, refusal(error), _answer_mode(found))
    except RequestRefused as error:
        return Refused(address, error, _answer_mode(found))
    return envelope


def _check_reference(envelope: Envelope) -> None:
    if not keys.is_body_of(envelope.body_ref or "", envelope.tenant, envelope.job):
        raise RequestRefused("body_ref must be under the envelope's own tenant and job", param="body_ref")


def _answer_mode(found: Mapping[str, Any]) -> AnswerMode:
    return AnswerMode.OBJECT if found.get("answer") == AnswerMode.OBJECT else AnswerMode.SEGMENT


def _decode_line(
    value: bytes, found: dict[str, Any], origin: Origin, rules: Rules, fault: RequestRefused | None = None
) -> Decoded:
    address = _derived(origin, rules, _custom_id(found))
    if fault is not None:
        return Refused(address, fault)
    try:
        check_size(value, rules.max_body_bytes)
        request = check_request(found)
    except RequestRefused as error:
        return Refused(address, error)
    return Envelope(
        tenant=address.tenant,
        job=address.job,
        index=address.index,
        custom_id=request.custom_id,
        url=request.url,
        body=request.body,
        enqueued_at=_second(origin.timestamp),
    )


def _derived(origin: Origin, rules: Rules, custom_id: str | None) -> Address:
    """The address of a message that carries none, from where and when the broker has it: the same at each delivery."""
    day = datetime.fromtimestamp(_second(origin.timestamp), UTC).strftime("%Y-%m-%d")
    job = f"{keys.STREAM}{origin.queue}-{day}"
    if not is_name(job):
        job = f"{keys.STREAM}{_UNSAFE.sub('-', origin.queue)[:200]}-{_digest(origin.queue)}-{day}"
    index = origin.position if is_index(origin.position) else _digest(origin.position)
    return Address(rules.tenant, job, index, custom_id)


_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _second(timestamp: float) -> float:
    """The timestamp, cut to what a calendar holds: producers stamp their records with whatever they like."""
    return min(max(timestamp, 0.0), MAX_UNIX_SECONDS) if math.isfinite(timestamp) else 0.0


def _custom_id(found: Mapping[str, Any]) -> str | None:
    custom_id = found.get("custom_id")
    return custom_id if isinstance(custom_id, str) and 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARACTERS else None


# --- delivery facts ---------------------------------------------------------------------------------------


def encode_facts(facts: DeliveryFacts) -> list[tuple[str, bytes]]:
    """The headers of a delivery; facts at their defaults are left out."""
    headers: list[tuple[str, bytes]] = []
    if facts.attempt != 1:
        headers.append(("attempt", str(facts.attempt).encode()))
    if facts.suspect:
        headers.append(("suspect", b"1"))
        if facts.among:
            headers.append(("among", str(facts.among).encode()))
    if facts.not_before is not None:
        headers.append(("not_before", repr(facts.not_before).encode()))
    if facts.traceparent is not None:
        headers.append(("traceparent", facts.traceparent.encode()))
    if facts.failed_at:
        headers.append(("failed_at", ",".join(facts.failed_at).encode()))
    return headers


def decode_facts(headers: Iterable[tuple[str, bytes | None]], lane: Lane) -> DeliveryFacts:
    """The facts in the headers, cut to their bounds; what cannot be read counts as absent. Never raises.

    All but `traceparent` are believed on `retry` alone, which only workers may write. On any other lane a sender's own
    suspects would come before everybody's requests, each alone in an empty engine.
    """
    found = {name: value for name, value in headers if isinstance(value, bytes)}
    if not found:
        return NO_FACTS
    traceparent = found.get("traceparent", b"")
    trace = traceparent.decode() if _TRACE.fullmatch(traceparent) else None
    if lane is not Lane.RETRY:
        return NO_FACTS if trace is None else DeliveryFacts(traceparent=trace)
    suspect = found.get("suspect") == b"1"
    return DeliveryFacts(
        attempt=int(min(max(_number(found.get("attempt")) or 1, 1), MAX_ATTEMPTS)),
        suspect=suspect,
        not_before=_number(found.get("not_before")),
        traceparent=trace,
        failed_at=_places(found.get("failed_at")),
        among=int(min(max(_number(found.get("among")) or 0, 0), MAX_AMONG_COUNT)) if suspect else 0,
    )


NO_FACTS = DeliveryFacts()
"""Of a message without headers."""


def wait_seconds(facts: DeliveryFacts, timestamp: float, now: float) -> float:
    """Seconds, 0 to a minute, for which a message that is first seen now is held back until it is due.

    `timestamp` is its record's, and `now` the clock here, both in Unix seconds. Its sender chose two of the three, and
    any of them may be wrong: none can make it wait for longer than that. The wait is for a monotonic clock to measure.
    """
    if facts.not_before is None:
        return 0.0
    due = min(facts.not_before, timestamp + MAX_RETRY_DELAY_SECONDS)
    return min(max(due - now, 0.0), MAX_RETRY_DELAY_SECONDS)


def _places(value: bytes | None) -> tuple[str, ...]:
    if value is None or len(value) > _MAX_PLACES_BYTES or not value.isascii():
        return ()
    return tuple(filter(is_place, value.decode().split(",")))[-MAX_FAILURES:]


def _number(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
