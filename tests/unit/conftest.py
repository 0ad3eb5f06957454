"""What the tests of the pipeline share: a store in memory, and a worker on it."""

import pytest
from pipeline_harness import Harness, settings

from backburner.storage import Storage


@pytest.fixture
def storage() -> Storage:
    return Storage.open(settings())


@pytest.fixture
def harness(storage: Storage) -> Harness:
    return Harness(storage)
