"""What the tests of the pipeline share: a store in memory, and a worker on it."""

import pytest
from pipeline_bench import Bench, settings

from backburner.storage import Storage


@pytest.fixture
def storage() -> Storage:
    return Storage.open(settings())


@pytest.fixture
def bench(storage: Storage) -> Bench:
    return Bench(storage)
