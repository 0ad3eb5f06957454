"""Prefix chains: prompts that begin alike have chains that begin alike, whatever a body holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.prefix import BLOCK_CHARACTERS, MAX_BLOCKS, prefix_chain


def chat(*texts: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]}


def test_what_two_prompts_share_is_what_their_chains_share():
    shared = "s" * (3 * BLOCK_CHARACTERS)
    one, other = prefix_chain(chat(shared + "a" * 600)), prefix_chain(chat(shared + "b" * 600))
    assert one[:3] == other[:3]
    assert not set(one[3:]) & set(other[3:])


def test_parameters_and_their_order_change_nothing():
    body = chat("x" * 1000)
    assert prefix_chain({"temperature": 1, **body, "max_tokens": 3}) == prefix_chain(body) != ()


def test_only_whole_blocks_count():
    assert prefix_chain({"prompt": "x" * (BLOCK_CHARACTERS - 1)}) == ()
    assert len(prefix_chain({"prompt": "x" * (2 * BLOCK_CHARACTERS - 1)})) == 1
    assert len(prefix_chain({"prompt": "x" * 1_000_000})) == MAX_BLOCKS


def test_parts_of_a_message_count_as_its_text():
    parts = [{"type": "text", "text": "x" * 400}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert prefix_chain({"messages": [{"role": "user", "content": parts}]}) == prefix_chain(chat("x" * 400))


def test_tools_come_first():
    tools = [{"type": "function", "function": {"name": "look", "description": "d" * 600}}]
    one, other = chat("a" * 600), chat("b" * 600)
    assert prefix_chain({**one, "tools": tools})[:2] == prefix_chain({**other, "tools": tools})[:2]
    assert prefix_chain(one)[0] != prefix_chain(other)[0]


def test_a_response_begins_as_the_chat_that_says_the_same():
    said = [{"role": "system", "content": "s" * 600}, {"role": "user", "content": "u" * 600}]
    chained = prefix_chain({"messages": said})
    assert prefix_chain({"input": said}) == chained
    assert prefix_chain({"instructions": "s" * 600, "input": said[1:]}) == chained
    assert prefix_chain({"instructions": "s" * 600, "input": "u" * 600}) == chained
    parts = [{"type": "input_text", "text": "u" * 600}]
    assert prefix_chain({"input": [said[0], {"role": "user", "content": parts}]}) == chained
    assert prefix_chain({"input": "u" * 600}) == prefix_chain({"prompt": "u" * 600}) != ()


@pytest.mark.parametrize("body", [None, {}, {"messages": 3}, {"messages": [3, None, {"content": {}}]}, {"prompt": [1]}])
def test_a_body_without_a_prompt_has_no_chain(body):
    assert prefix_chain(body) == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
)


@given(st.dictionaries(st.sampled_from(["messages", "tools", "prompt", "input", "instructions"]), _JSON))
def test_any_json_has_a_chain(body):
    chain = prefix_chain(body)
    assert chain == prefix_chain(dict(reversed(body.items())))
    assert len(chain) <= MAX_BLOCKS
