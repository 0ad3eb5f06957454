"""One request from the body of a call to the message on the queue. Pure; the body travels as it came."""

import hashlib

from pydantic_core import from_json, to_json

from backburner.publishers.base import FIRST_DELIVERY, Message
from backburner_schemas.envelope import VERSION, AnswerMode
from backburner_schemas.errors import InvalidJson
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint, check_body, check_parsed_size, check_size, check_values
from backburner_schemas.routing import neighbours_key

_SHALLOW_BRACKETS_COUNT = 100
"""So many brackets cannot be nested too deeply, however they stand."""


class SingleRequest:
    """The request of one call."""

    def __init__(self, endpoint: Endpoint, body: bytes, *, max_bytes: int) -> None:
        """Raises a `RequestRefused` for a body that the endpoint cannot take."""
        check_size(body, max_bytes)
        check_parsed_size(body, max_bytes)
        try:
            found = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidJson(f"not a JSON object: {str(error)[:200]}; send one, in UTF-8") from error
        if not isinstance(found, dict):
            raise InvalidJson("not a JSON object; send one, in UTF-8")
        _check_depth(body)
        check_values(found)
        check_body(endpoint, found)
        self.model: str = found["model"]
        self._endpoint = endpoint
        self._body = body

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    @property
    def digest(self) -> str:
        """SHA-256 of the body, in hexadecimal."""
        return hashlib.sha256(self._body).hexdigest()

    def message(self, tenant: str, request_id: str, pool: str, lane: Lane, *, now: float, deadline: float) -> Message:
        """The message that asks for an answer under that id; both times in Unix seconds by the store's clock."""
        head = {
            "v": VERSION,
            "tenant": tenant,
            "job": request_id,
            "index": 0,
            "custom_id": request_id,
            "url": self._endpoint,
        }
        tail = {"deadline": deadline, "answer": AnswerMode.OBJECT, "enqueued_at": now}
        value = b'%b,"body":%b,%b' % (to_json(head)[:-1], self._body, to_json(tail)[1:])
        return Message(pool, lane, None, FIRST_DELIVERY, (neighbours_key(tenant, request_id, 0), value))


def _check_depth(body: bytes) -> None:
    """Raise `InvalidJson` for what can be read here, and not by a worker, to whom it comes one level deeper."""
    if body.count(b"{") + body.count(b"[") > _SHALLOW_BRACKETS_COUNT:
        try:
            from_json(b"[[%b]]" % body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidJson("the JSON object is nested too deeply; make it flatter") from error
