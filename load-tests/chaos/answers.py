"""What the fake engine answers, computed by the checker's own code: see `backburner_worker.engine.fake.engine`.

Of chat requests without `[[echo]]` and `[[tokens]]`: the harness asks no others. The real engine's answers are not a
function of the request, so of those only the form is checked.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_CHAT = "/v1/chat/completions"
_WORDS = ("the", "pot", "stands", "warm", "on", "the", "back", "burner", "until", "its", "turn", "comes")
_NAME_CHARACTERS = 12
_TURN_CHARACTERS = 4


def digest(url: str, body: Mapping[str, Any]) -> str:
    """BLAKE2b, 16 bytes, of the endpoint, a new line and the body as canonical JSON."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(url.encode() + b"\n" + canonical.encode(), digest_size=16).hexdigest()


def request_id(tenant: str, job: str, index: int | str) -> str:
    """The id that a request has in records and in journals."""
    return "batch_req_" + hashlib.sha256(f"{tenant}/{job}/{index}".encode()).hexdigest()[:24]


def texts(url: str, body: Mapping[str, Any]) -> list[str]:
    """The text of each choice: the digest's first digits, and the words from where it says; no more than asked for."""
    if url != _CHAT:
        raise NotImplementedError(url)
    found = digest(url, body)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    several = []
    for index in range(body.get("n") or 1):
        turn = (int(found[:_TURN_CHARACTERS], 16) + index) % len(_WORDS)
        words = (f"fake-{found[:_NAME_CHARACTERS]}-{index}", *_WORDS[turn:], *_WORDS[:turn])
        several.append(" ".join(words[:limit]))
    return several


def difference(url: str, body: Mapping[str, Any], answer: Any, *, fake: bool) -> str | None:
    """Why that is not the answer to that chat request; None if it is."""
    try:
        model, name = answer["model"], answer["id"]
        choices = [(one["index"], one["message"]["content"]) for one in answer["choices"]]
    except (KeyError, TypeError):
        return "the response is not a chat completion"
    if model != body.get("model"):
        return f"the response is {model!r}'s and the request went to {body.get('model')!r}"
    count = body.get("n") or 1
    if [index for index, _ in choices] != [*range(count)]:
        return f"the response has {len(choices)} choices, asked for were {count}"
    found = [text for _, text in choices]
    if not fake:
        return None if all(isinstance(text, str) for text in found) else "the response has no text"
    expected = digest(url, body)
    if name != f"chatcmpl-{expected}":
        return f"the response {name} answers another request; this one's is chatcmpl-{expected}"
    if found != texts(url, body):
        return f"the response's text is {found}, not {texts(url, body)}"
    return None
