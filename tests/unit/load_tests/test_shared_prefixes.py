"""The jobs of the load tests whose requests begin alike: what they share, and how large they are to the fake engine."""

from collections import Counter
from itertools import pairwise

from backburner_schemas.prefix import prefix_chain
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.answers import prompt_text
from measuring.shared_prefixes import BLOCK_COUNT, PROMPT_TOKENS, REQUESTS_PER_PREFIX, shuffled_lines


def test_each_beginning_has_so_many_requests_and_as_many_blocks_are_shared():
    chains = Counter(prefix_chain(line["body"]) for line in shuffled_lines("fake", 50, seed=1))
    assert set(chains.values()) == {REQUESTS_PER_PREFIX}
    assert {len(chain) for chain in chains} == {BLOCK_COUNT}
    # Not even the first block is another beginning's.
    assert len({chain[0] for chain in chains}) == len(chains) == 50


def test_no_two_jobs_share_a_beginning():
    one, other = ({prefix_chain(line["body"]) for line in shuffled_lines("fake", 20, seed=seed)} for seed in (1, 2))
    assert not one & other


def test_requests_are_shuffled_and_all_different():
    lines = [*shuffled_lines("fake", 50, seed=1)]
    assert len({str(line["body"]) for line in lines}) == len({line["custom_id"] for line in lines}) == 1000
    chains = [prefix_chain(line["body"]) for line in lines]
    assert sum(one == other for one, other in pairwise(chains)) < 60


def test_a_request_and_its_answer_fit_into_the_tokens_that_a_cache_is_measured_in():
    for line in shuffled_lines("fake", 20, seed=1):
        words = len(prompt_text(EngineRequest("", Endpoint.CHAT, line["body"])).split())
        assert 0.9 * PROMPT_TOKENS <= words + line["body"]["max_tokens"] <= PROMPT_TOKENS
