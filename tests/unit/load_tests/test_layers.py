"""The layers that a worker's CPU is shared out among: what the table names is there."""

import re
from pathlib import Path

import pytest

from measuring.layers import LAYERS, PLACES, layer_of

ROOT = Path(__file__).parents[3]
OURS = [part for part, _ in PLACES if part.startswith(("backburner", "load-tests"))]
ROOTS = {"backburner_schemas": "schemas", "backburner": "producer", "backburner_worker": "worker", "load-tests": "."}


@pytest.mark.parametrize("part", OURS)
def test_each_place_of_ours_is_there(part):
    path, _, function = part.partition(":")
    package, _, inside = path.partition("/")
    folder = ROOT / ROOTS[package] / package
    file = folder / inside
    if function:
        assert re.search(rf"^ *(async )?def {function}\(", file.read_text(), re.MULTILINE)
    else:
        assert file.exists() or list(folder.glob(f"{inside}*.py"))


def test_each_layer_has_a_place():
    given = {layer for _, layer in PLACES}
    assert given <= LAYERS.keys()
    assert LAYERS.keys() - given == {"threads", "other"}


def test_a_place_belongs_to_the_first_layer_that_knows_it():
    assert layer_of("/x/backburner_worker/sources/kafka/ledger.py:settle") == "settle"
    assert layer_of("/x/backburner_worker/sources/kafka/ledger.py:add") == "pull"
    assert layer_of("/x/somewhere/else.py:main") is None
