"""From an empty cluster to the first result, and everybody who asks: OpenAI's package, a raw producer, S3 alone."""

import pytest

_GROUP = "chat"


@pytest.fixture(scope="module")
def installed(deploy):
    with deploy("first") as made:
        made.install(made.values({_GROUP: made.group(replicas=2)}))
        yield made


def test_it_installs(installed, figures):
    assert len(installed.pods("worker")) == 2
