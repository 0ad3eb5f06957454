"""What the fake engine answers, computed by the checker's own code: see `backburner_worker.engine.fake.engine`.

The real engine's answers are not a function of the request, so of those only the form is checked.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(url: str, body: Mapping[str, Any]) -> str:
    """BLAKE2b, 16 bytes, of the endpoint, a new line and the body as canonical JSON."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(url.encode() + b"\n" + canonical.encode(), digest_size=16).hexdigest()


def request_id(tenant: str, job: str, index: int | str) -> str:
    """The id that a request has in records and in journals."""
    return "batch_req_" + hashlib.sha256(f"{tenant}/{job}/{index}".encode()).hexdigest()[:24]


def difference(url: str, body: Mapping[str, Any], answer: Any, *, fake: bool) -> str | None:
    """Why that is not the answer to that chat request; None if it is."""
    try:
        text, model, name = answer["choices"][0]["message"]["content"], answer["model"], answer["id"]
    except (KeyError, IndexError, TypeError):
        return "the response is not a chat completion"
    if model != body.get("model"):
        return f"the response is {model!r}'s and the request went to {body.get('model')!r}"
    if not fake:
        return None if isinstance(text, str) else "the response has no text"
    expected = digest(url, body)
    if name != f"chatcmpl-{expected}" or not str(text).startswith(f"fake-{expected[:12]}-0"):
        return f"the response {name} answers another request; this one's is chatcmpl-{expected}"
    return None
