"""The chat requests that both sides of a comparison answer: the same prompts, the same number of tokens."""

from typing import Any

MAX_TOKENS = 32

_SUBJECTS = ("a river", "a clock", "bread", "winter", "a library", "salt", "the moon", "a bridge")
_ASKED = ("Describe", "Explain to a child", "Write two lines about", "Name three facts about")


def messages(number: int) -> list[dict[str, str]]:
    """The conversation of request `number`; no two begin alike, so that no prefix cache helps one side."""
    asked, subject = _ASKED[number % len(_ASKED)], _SUBJECTS[number // len(_ASKED) % len(_SUBJECTS)]
    return [{"role": "user", "content": f"Note {number}. {asked} {subject}, please."}]


def line(number: int, model: str) -> dict[str, Any]:
    """Request `number` as a line of a batch file. It always generates `MAX_TOKENS` tokens."""
    body = {
        "model": model,
        "messages": messages(number),
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
