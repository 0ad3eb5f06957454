"""One request: built from a user's arguments, a prompt, messages or a whole body, and put onto the queue."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import Any

from backburner.connections import Connections
from backburner.inputs.items import json_of
from backburner.publishers.base import Message
from backburner.storage.parse import read_stored
from backburner.submission.envelopes import claim_check
from backburner.submission.options import Deadline, resolve_deadline
from backburner.submission.sender import publish
from backburner_schemas import keys
from backburner_schemas.body_fields import FIELDS, HARMLESS_FIELDS
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import (
    JobConflict,
    QueueError,
    RequestRefused,
    UnknownEndpoint,
    UnsupportedParameter,
)
from backburner_schemas.job import DEFAULT_DEADLINE_SECONDS, Claimed, Enqueued
from backburner_schemas.names import Lane
from backburner_schemas.request import BatchRequest, Endpoint, parse_request


def endpoint_of(url: str) -> Endpoint:
    """The endpoint of that URL. Raises `UnknownEndpoint`."""
    try:
        return Endpoint(url)
    except ValueError as error:
        raise UnknownEndpoint(f"{url!r} names no endpoint; use one of {', '.join(Endpoint)}", param="url") from error


def body_of(
    endpoint: Endpoint,
    *,
    prompt: str | None,
    messages: Sequence[Mapping[str, Any]] | None,
    body: Mapping[str, Any] | None,
    model: str | None,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """The body, without a model if none was named. Raises `RequestRefused` unless exactly one input was given."""
    given = [name for name, value in (("prompt", prompt), ("messages", messages), ("body", body)) if value is not None]
    if len(given) != 1:
        named = "none was" if not given else " and ".join(given) + " were"
        raise RequestRefused(f"pass exactly one of prompt, messages and body; {named} given", param="prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise RequestRefused(
            f"prompt is a text, not {type(prompt).__name__}; pass messages=…, or body=…", param="prompt"
        )
    if messages is not None and not _are_messages(messages):
        raise RequestRefused(
            'messages is a list of dicts such as {"role": "user", "content": "…"}; a text alone is a prompt',
            param="messages",
        )
    made: dict[str, Any] = {"model": model} if model is not None else {}
    if body is not None:
        made = {**body, **made}
    elif messages is not None:
        made["input" if endpoint is Endpoint.RESPONSES else "messages"] = list(messages)
    else:
        made.update(_from_prompt(endpoint, prompt or ""))
    return {**made, **parameters}


def _are_messages(messages: object) -> bool:
    # Responses take other items there too; what each holds is the worker's to check.
    return isinstance(messages, Sequence) and all(isinstance(one, Mapping) for one in messages)


def _from_prompt(endpoint: Endpoint, prompt: str) -> dict[str, Any]:
    if endpoint is Endpoint.CHAT:
        return {"messages": [{"role": "user", "content": prompt}]}
    if endpoint is Endpoint.COMPLETIONS:
        return {"prompt": prompt}
    if endpoint in {Endpoint.EMBEDDINGS, Endpoint.RESPONSES}:
        return {"input": prompt}
    raise RequestRefused(f"{endpoint} needs more than a prompt; pass its fields as body", param="prompt")


def check_names(endpoint: Endpoint, names: Iterable[str], own: Collection[str]) -> None:
    """Raise `UnsupportedParameter` for a named argument that is no field of the endpoint's body.

    `own` are the names that the caller's function has itself: a misspelt one is the likeliest of all.
    """
    known = FIELDS[endpoint] | HARMLESS_FIELDS.keys()
    for name in names:
        if name not in known:
            near = get_close_matches(name, [*own, *sorted(known)], n=1)
            hint = f"did you mean {near[0]}? A field" if near else "a field"
            raise UnsupportedParameter(
                f"{name!r} is no argument here, and no field of a body for {endpoint}; {hint} that your operator "
                "allows beside goes into extra_body={…}",
                param=name,
            )


def digest_of(custom_id: str | None, endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """SHA-256 of a request as it was given, in hexadecimal. Raises `InvalidJson`."""
    return sha256(json_of((custom_id, endpoint, dict(body)))).hexdigest()


def request_of(custom_id: str, endpoint: Endpoint, body: Mapping[str, Any], *, max_bytes: int) -> BatchRequest:
    """The request, checked as a line of a file is. Raises `RequestRefused`."""
    return parse_request(json_of({"custom_id": custom_id, "url": endpoint, "body": dict(body)}), max_bytes=max_bytes)


@dataclass(frozen=True, slots=True)
class SingleOptions:
    """What the caller asked for."""

    custom_id: str | None
    endpoint: Endpoint
    body: dict[str, Any]
    lane: Lane
    deadline: Deadline | None
    pool: str | None


@dataclass(frozen=True, slots=True)
class SingleSent:
    """What became of it."""

    custom_id: str
    deadline: float
    """Unix seconds."""
    warnings: Sequence[str] = ()


class SingleSubmission:
    """One `enqueue`. Call `run` once."""

    def __init__(self, connections: Connections, tenant: str, job: str, *, keyed: bool) -> None:
        """`keyed`: the job's id comes from an idempotency key, so that the request may be there already."""
        self._connections = connections
        self._names = tenant, job
        self._keyed = keyed

    async def run(self, options: SingleOptions) -> SingleSent:
        """Send the request, unless it was sent under its key before. See `Client.enqueue` for what is raised."""
        _, job = self._names
        custom_id = job if options.custom_id is None else options.custom_id
        digest = digest_of(options.custom_id, options.endpoint, options.body) if self._keyed else None
        if digest is not None and (known := await self._sent_before(digest)) is not None:
            return SingleSent(custom_id, known.deadline)
        try:
            return await self._send(custom_id, options, digest)
        except QueueError as error:
            again = "enqueue it again with the same idempotency_key" if self._keyed else "enqueue it again"
            raise error.of_job(job, f"the request {job} may not be on the queue: {again}") from error.__cause__

    async def _send(self, custom_id: str, options: SingleOptions, digest: str | None) -> SingleSent:
        connections, settings, (tenant, job) = self._connections, self._connections.settings, self._names
        now, body = await connections.storage.time(), options.body
        deadline = DEFAULT_DEADLINE_SECONDS if options.deadline is None else options.deadline
        until = resolve_deadline(deadline, now, settings)
        if body.get("model") is None:
            body["model"] = await connections.pools.default_model(
                settings.pool if options.pool is None else options.pool
            )
        request = request_of(custom_id, options.endpoint, body, max_bytes=settings.max_body_bytes)
        if options.pool is not None:
            target = await connections.pools.check_pool(options.pool)
            await connections.pools.check_served(target, {request.model})
        else:
            target = await connections.pools.pool_for(request.model)
        envelope = Envelope(
            tenant=tenant,
            job=job,
            index=0,
            custom_id=request.custom_id,
            url=request.url,
            body=request.body,
            deadline=until,
            answer=AnswerMode.OBJECT,
            enqueued_at=now,
        )
        publisher = await connections.publisher()
        if digest is not None:
            await self._claim(digest)
        message = await claim_check(connections.storage, Message(target, options.lane, envelope), settings.queue.kind)
        await publish(publisher, connections.storage, [message], max_retries=connections.limits.max_retries)
        if digest is not None:
            mark = Enqueued(sha256=digest, deadline=until)
            await connections.storage.put(keys.enqueued(*self._names), mark.model_dump_json().encode())
        return SingleSent(request.custom_id, until, connections.pools.warnings({target}))

    async def _claim(self, digest: str) -> None:
        """Take the key for this request. Raises `JobConflict` if another has it: both would be one job's only request.

        It does not say that the request is sent: that would lose one that the broker has not.
        """
        storage, key = self._connections.storage, keys.claimed(*self._names)
        if not await storage.create(key, Claimed(sha256=digest).model_dump_json().encode()):
            claimed = await read_stored(storage, Claimed, key)
            self._check_digest(digest, claimed.sha256 if claimed is not None else digest)

    async def _sent_before(self, digest: str) -> Enqueued | None:
        mark = await read_stored(self._connections.storage, Enqueued, keys.enqueued(*self._names))
        self._check_digest(digest, mark.sha256 if mark is not None else digest)
        return mark

    def _check_digest(self, mine: str, first: str) -> None:
        if mine != first:
            raise JobConflict(
                f"the idempotency key of {self._names[1]} came before with another request; choose a new key for each "
                "new request"
            )
