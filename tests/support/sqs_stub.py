"""SQS as AWS's client library shows it, in memory: with AWS's answers where the emulator has others, and with faults.

It holds no test and no fixture. Every call is made in a thread, as the product does, and is written down.
"""

# ruff: noqa: N803 - AWS names its arguments so

import itertools
import threading
import time
from collections import Counter, defaultdict
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

AWAY = EndpointConnectionError(endpoint_url="http://stub")


def refusal(code: str, message: str = "because") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Call")


class StubMessage:
    def __init__(
        self, number: int, body: str, attributes: dict[str, Any], visible_at: float, group: str | None
    ) -> None:
        self.id = f"message-{number}"
        self.body = body
        self.attributes = attributes
        self.group = group
        self.visible_at = visible_at
        self.sent = time.time()
        self.handle = ""
        self.count = 0


class StubSqs:
    """One region of SQS."""

    def __init__(self, *queues: str) -> None:
        self.queues: dict[str, list[StubMessage]] = {name: [] for name in queues}
        self.attributes: dict[str, dict[str, str]] = defaultdict(
            lambda: {"MaximumMessageSize": "1048576", "MessageRetentionPeriod": "604800"}
        )
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        """The next calls of that name fail so, one after the other."""
        self.failing: dict[str, Exception] = {}
        """All calls of that name fail so."""
        self.refusing: dict[str, dict[str, str]] = defaultdict(dict)
        """Entries of batches, by name of the call and body or message id, that are refused once with that code."""
        self.gates: dict[str, threading.Event] = {}
        """Calls of that name wait for this."""
        self.ending = False
        """Nobody waits for messages any more."""
        self._changed = threading.Condition()
        self._numbers = itertools.count()

    # --- what tests do ---

    def put(self, body: str, queue: str, **attributes: str) -> StubMessage:
        form = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        return self._put(queue, body, form, 0, None)

    def expire(self, message: StubMessage) -> None:
        """Its visibility ends now."""
        with self._changed:
            message.visible_at = 0.0
            self._changed.notify_all()

    def left(self) -> list[StubMessage]:
        with self._changed:
            return [message for queue in self.queues.values() for message in queue]

    def visible(self) -> list[StubMessage]:
        return [message for message in self.left() if message.visible_at <= time.monotonic()]

    def delays(self) -> list[int]:
        """The visibility times that were asked for."""
        found = [one for name, one in self.asked if name == "change_message_visibility_batch"]
        return [entry["VisibilityTimeout"] for one in found for entry in one["Entries"]]

    # --- what the product calls ---

    def get_queue_url(self, QueueName: str) -> dict[str, str]:
        self._begin("get_queue_url", {})
        if QueueName not in self.queues:
            raise refusal("AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": f"http://stub/{QueueName}"}

    def create_queue(self, QueueName: str, Attributes: dict[str, str]) -> dict[str, str]:
        self._begin("create_queue", {"QueueName": QueueName, "Attributes": Attributes})
        self.queues[QueueName] = []
        self.attributes[QueueName] = Attributes
        return {"QueueUrl": f"http://stub/{QueueName}"}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        self._begin("get_queue_attributes", {})
        name = _name(QueueUrl)
        counts = {"ApproximateNumberOfMessages": str(len(self.queues[name]))}
        found = {**self.attributes[name], **counts}
        return {"Attributes": {name: found[name] for name in AttributeNames if name in found}}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._begin("send_message_batch", {"Entries": Entries})
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in Entries:
            code = self.refusing["send_message_batch"].pop(entry["MessageBody"], None)
            if code is not None:
                answer["Failed"].append({"Id": entry["Id"], "Code": code, "SenderFault": False})
                continue
            attributes, group = entry.get("MessageAttributes", {}), entry.get("MessageGroupId")
            delay = entry.get("DelaySeconds", 0)
            sent = self._put(_name(QueueUrl), entry["MessageBody"], attributes, delay, group)
            answer["Successful"].append({"Id": entry["Id"], "MessageId": sent.id})
        return answer

    def receive_message(
        self, QueueUrl: str, MaxNumberOfMessages: int, WaitTimeSeconds: int, VisibilityTimeout: int, **more: Any
    ) -> dict[str, Any]:
        name = _name(QueueUrl)
        self._begin("receive_message", {"queue": name, "size": MaxNumberOfMessages})
        until = time.monotonic() + WaitTimeSeconds
        with self._changed:
            while True:
                now = time.monotonic()
                found = [one for one in self.queues[name] if one.visible_at <= now][:MaxNumberOfMessages]
                if found or now >= until or self.ending:
                    break
                self._changed.wait(min(until - now, 0.05))
            for one in found:
                one.handle = f"handle-{next(self._numbers)}"
                one.count += 1
                one.visible_at = now + VisibilityTimeout
        wanted = more["MessageAttributeNames"]
        return {
            "Messages": [
                {
                    "MessageId": one.id,
                    "ReceiptHandle": one.handle,
                    "Body": one.body,
                    "Attributes": {
                        "ApproximateReceiveCount": str(one.count),
                        "SentTimestamp": str(int(one.sent * 1000)),
                    },
                    "MessageAttributes": {key: value for key, value in one.attributes.items() if key in wanted},
                }
                for one in found
            ]
        }

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._begin("change_message_visibility_batch", {"Entries": Entries})
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        with self._changed:
            now = time.monotonic()
            for entry in Entries:
                one = self._by_handle(QueueUrl, entry["ReceiptHandle"])
                if one is None or one.visible_at <= now:
                    answer["Failed"].append({"Id": entry["Id"], "Code": "MessageNotInflight", "SenderFault": True})
                    continue
                one.visible_at = now + entry["VisibilityTimeout"]
                answer["Successful"].append({"Id": entry["Id"]})
            self._changed.notify_all()
        return answer

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self._begin("delete_message_batch", {"Entries": Entries})
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        with self._changed:
            for entry in Entries:
                one = self._by_handle(QueueUrl, entry["ReceiptHandle"])
                code = self.refusing["delete_message_batch"].pop(one.id, None) if one else None
                if code is not None:
                    answer["Failed"].append({"Id": entry["Id"], "Code": code, "SenderFault": False})
                    continue
                if one is not None:
                    self.queues[_name(QueueUrl)].remove(one)
                # A stale handle succeeds, and deletes nothing.
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def close(self) -> None:
        pass

    # --- inside ---

    def _begin(self, call: str, asked: dict[str, Any]) -> None:
        self.calls[call] += 1
        self.asked.append((call, asked))
        if call in self.gates:
            self.gates[call].wait(60)
        if self.faults[call]:
            raise self.faults[call].pop(0)
        if call in self.failing:
            raise self.failing[call]

    def _put(self, queue: str, body: str, attributes: dict[str, Any], delay: float, group: str | None) -> StubMessage:
        with self._changed:
            one = StubMessage(next(self._numbers), body, attributes, time.monotonic() + delay, group)
            self.queues[queue].append(one)
            self._changed.notify_all()
        return one

    def _by_handle(self, url: str, handle: str) -> StubMessage | None:
        return next((one for one in self.queues[_name(url)] if one.handle == handle), None)


def _name(url: str) -> str:
    return url.rpartition("/")[2]
