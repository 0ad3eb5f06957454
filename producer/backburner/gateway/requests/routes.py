"""`/v1/async`: single requests that are put onto the queue, and asked for by their id."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backburner.gateway.auth.audit_log import Action
from backburner.gateway.batches.batch_create import estimated_tokens, window_seconds
from backburner.gateway.http.call import Call, call_of
from backburner.gateway.idempotency import Idempotency, fingerprint_of, idempotency_key, not_made
from backburner.gateway.parts import Parts, parts_of
from backburner.gateway.requests.answers import answered, pending, unless_known, wait_seconds
from backburner.gateway.requests.single_request import SingleRequest
from backburner.publishers.base import PublishFailed
from backburner.submission.envelopes import claim_check, fits_inline, to_send_again
from backburner_schemas.errors import CallRefused, RequestNotFound
from backburner_schemas.names import PRIORITIES, Lane
from backburner_schemas.request import Endpoint

PREFIX = "/v1/async"
_DEFAULT_WINDOW = "24h"
_OPTIONS = frozenset({"priority", "completion_window"})


async def create_request(request: Request) -> Response:
    """Put a request onto the queue. The answer is 202 with its id, once the broker has it."""
    parts, call = parts_of(request), call_of(request)
    endpoint = Endpoint(request.scope["path"].replace(PREFIX, "/v1", 1))
    most = parts.settings.max_body_bytes
    wanted = SingleRequest(endpoint, await call.body.read(most), max_bytes=most)
    lane, window = _options(request, parts)
    pool = await parts.connections.pools.pool_for(wanted.model)
    now = parts.storage.clock.now()
    request_id = (await parts.signing_key.ids()).new(call.tenant, now)
    key = idempotency_key(request)
    if key is None:
        await _send(parts, call, wanted, request_id, (pool, lane, now + window))
    else:
        content = fingerprint_of([endpoint, lane, window, wanted.digest])
        once = Idempotency(parts.storage, call.principal, PREFIX)
        request_id = await once.once(key, content, request_id)
        if not (await parts.signing_key.ids()).gave_out(call.tenant, request_id):
            raise not_made()
        if not await once.is_done(request_id):
            await _send(parts, call, wanted, request_id, (pool, lane, now + window))
            await once.done(request_id)
    call.facts["request"] = request_id
    parts.audit.record(call.principal, Action.REQUEST_CREATED, request_id)
    return pending(request_id, parts.settings.gateway_root_path)


async def _send(
    parts: Parts, call: Call, wanted: SingleRequest, request_id: str, place: tuple[str, Lane, float]
) -> None:
    pool, lane, deadline = place
    await parts.limiter.queue(call.principal, 1, estimated_tokens(wanted.size), job=False)
    message = wanted.message(call.tenant, request_id, pool, lane, now=parts.storage.clock.now(), deadline=deadline)
    queue = parts.settings.queue.kind
    if not fits_inline(message, queue):
        message = await claim_check(parts.storage.of_tenant(call.tenant), message, queue)
    while True:
        try:
            return await parts.enqueuer.enqueue(message)
        except PublishFailed as error:
            (message,) = await to_send_again(parts.storage.of_tenant(call.tenant), [message], error)


def _options(request: Request, parts: Parts) -> tuple[Lane, int]:
    """Lane and seconds until the deadline. Raises `CallRefused`."""
    # Most have none, and parsing nothing costs as much as the rest.
    given = request.query_params if request.scope["query_string"] else {}
    for name in given:
        if name not in _OPTIONS:
            raise CallRefused(f"{name[:64]!r} is not known; there are {', '.join(sorted(_OPTIONS))}", param=name[:64])
    priority = given.get("priority", Lane.NORMAL)
    if priority not in PRIORITIES:
        raise CallRefused(f"priority must be one of {', '.join(PRIORITIES)}", param="priority")
    window = window_seconds(given.get("completion_window", _DEFAULT_WINDOW)[:32])
    kept = parts.settings.topic_retention_seconds
    if window > kept:
        raise CallRefused(
            f"the queue keeps a request for {kept:,.0f} s, and completion_window is longer; make a batch instead",
            param="completion_window",
        )
    return Lane(priority), window


async def retrieve_request(request: Request) -> Response:
    """The response to a request, or its error with its status; 202 while there is neither. `Prefer: wait=N` waits."""
    parts, call, request_id = parts_of(request), call_of(request), request.path_params["request_id"]
    if not (await parts.signing_key.ids()).gave_out(call.tenant, request_id):
        raise RequestNotFound
    wait = 0 if parts.waits.locked() else wait_seconds(request)
    answers = parts.answers(call.tenant)
    if wait:
        call.take_time()
        async with parts.waits:
            data = await answers.stored(request_id, wait, call.memory)
    else:
        data = await answers.stored(request_id, 0, call.memory)
    root_path = parts.settings.gateway_root_path
    response = pending(request_id, root_path) if data is None else await answered(request_id, data)
    if wait:
        response.headers["preference-applied"] = f"wait={wait}"
    return unless_known(request, response)


created_often = [
    Route(url.replace("/v1", PREFIX, 1), create_request, methods=["POST"], name=f"create{url}") for url in Endpoint
]
streaming = [
    *created_often,
    Route(PREFIX + "/{request_id}", retrieve_request, methods=["GET"], name="retrieve_request"),
]
"""Handlers without FastAPI, whose work on each call would cost more than the call itself."""
