"""Commits, partition by partition: what is refused of one keeps no other waiting. The coordinator is a stand-in."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    KafkaConnectionError,
    NotCoordinatorForGroupError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka import commits as commits_module
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition
from backburner_worker.sources.kafka.commits import Commits
from backburner_worker.sources.kafka.consumer import commit
from backburner_worker.sources.kafka.marks import Marks

GOOD, BAD = ("good", 0), ("bad", 0)
UNCLEAN = Marks(clean=False, incarnation=9)


class Coordinator:
    """Stores what is committed, and refuses what a test has it refuse."""

    def __init__(self) -> None:
        self.group_id, self.generation, self.member_id = "g", 3, "m"
        self.refused: dict[str, type[Exception]] = {}
        self.stored: dict[Partition, tuple[int, str]] = {}
        self.calls: list[str] = []
        self.away = False

    async def _send_req(self, request):
        self.calls.append("commit")
        if self.away:
            raise KafkaConnectionError("gone")
        answer = []
        for topic, partitions in request._topics:
            error = self.refused.get(topic)
            for number, offset, text in partitions:
                if error is None:
                    self.stored[topic, number] = (offset, text)
            answer.append((topic, [(number, error.errno if error else 0) for number, *_ in partitions]))
        return SimpleNamespace(topics=answer)

    async def fetch_committed_offsets(self, partitions):
        return {at: OffsetAndMetadata(*self.stored[at]) for at in partitions if at in self.stored}

    def __getattr__(self, name: str):
        return lambda: self.calls.append(name)


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def assignment() -> Assignment:
    assignment = Assignment(1)
    assignment.keep_only([GOOD, BAD])
    assignment.arrive({GOOD: Committed(0, UNCLEAN), BAD: Committed(0, UNCLEAN)}, now=0.0)
    return assignment


@pytest.fixture
def commits(coordinator, assignment) -> Commits:
    denials: list[type[Exception]] = []
    commits = Commits(
        SimpleNamespace(_coordinator=coordinator),
        assignment,
        seconds=1.0,
        answered=lambda: None,
        denied=lambda error: denials.append(type(error)),
    )
    commits.denials = denials
    return commits


def give(assignment: Assignment, partition: Partition) -> Delivery:
    assert assignment.take(partition, 0)
    token = assignment.partition_offset(partition, 0)
    message = Unaddressed(Undeliverable())
    delivery = Delivery(message, b"", Origin(partition[0], "0-0", 0.0), Lane.NORMAL, DeliveryFacts(), token)
    assignment.hand_out(delivery)
    return delivery


async def test_what_is_refused_of_one_partition_keeps_no_other_from_being_opened_and_committed(
    coordinator, assignment, commits
):
    coordinator.refused = {"bad": UnknownTopicOrPartitionError}
    assert not await commits.commit()
    assert (assignment.is_open(GOOD), assignment.is_open(BAD)) == (True, False)
    held = give(assignment, GOOD)
    assert assignment.begin(held)
    await commits.commit()
    assert assignment.is_start_committed(held)
    assignment.settle(held)
    await commits.commit()
    assert coordinator.stored[GOOD][0] == 1
    coordinator.refused = {}
    assert await commits.commit()
    assert assignment.is_open(BAD)


async def test_a_start_of_a_partition_that_is_refused_for_long_goes_on(coordinator, assignment, commits, monkeypatch):
    assert await commits.commit()
    held = give(assignment, BAD)
    assert assignment.begin(held)
    coordinator.refused = {"bad": UnknownTopicOrPartitionError}
    await commits.commit()
    assert not assignment.is_start_committed(held)
    monkeypatch.setattr(commits_module, "_REFUSED_SECONDS", -1.0)
    await commits.start_committed(held)


async def test_whether_marks_are_kept_is_asked_until_it_is_answered(coordinator, assignment, commits, monkeypatch):
    async def silent(_):
        raise KafkaConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(coordinator, "fetch_committed_offsets", silent, raising=False)
        assert not await commits.commit()
    assert assignment.kept is None
    assert not assignment.is_open(GOOD)
    assert await commits.commit()
    assert assignment.kept
    assert assignment.is_open(GOOD)


@pytest.mark.parametrize(
    ("error", "does"),
    [
        (IllegalGenerationError, "reset_generation"),
        (RebalanceInProgressError, "request_rejoin"),
        (NotCoordinatorForGroupError, "coordinator_dead"),
    ],
)
async def test_what_is_said_of_the_whole_member_is_passed_on_and_nothing_is_taken(coordinator, error, does):
    coordinator.refused = {"good": error}
    assert await commit(SimpleNamespace(_coordinator=coordinator), {GOOD: (1, "")}, seconds=1.0) == {}
    assert coordinator.calls == ["commit", does]


async def test_no_broker_is_no_answer(coordinator):
    coordinator.away = True
    assert await commit(SimpleNamespace(_coordinator=coordinator), {GOOD: (1, "")}, seconds=1.0) == {}


async def test_who_is_no_member_commits_nothing(coordinator):
    coordinator.generation = -1
    assert await commit(SimpleNamespace(_coordinator=coordinator), {GOOD: (1, "")}, seconds=1.0) == {}
    assert coordinator.calls == []


async def test_a_text_that_is_too_long_is_raised(coordinator):
    consumer = SimpleNamespace(_coordinator=coordinator)
    coordinator.refused = {"bad": OffsetMetadataTooLargeError}
    with pytest.raises(OffsetMetadataTooLargeError):
        await commit(consumer, {GOOD: (1, ""), BAD: (1, "")}, seconds=1.0)


@pytest.mark.parametrize("error", [GroupAuthorizationFailedError, TopicAuthorizationFailedError])
async def test_a_right_that_is_taken_away_is_told_and_the_commit_is_tried_again(
    coordinator, assignment, commits, error
):
    coordinator.refused = {"bad": error}
    assert not await commits.commit()
    assert (coordinator.stored.keys(), commits.denials) == ({GOOD}, [error])
    coordinator.refused = {}
    assert await commits.commit()
    assert coordinator.stored.keys() == {GOOD, BAD}
