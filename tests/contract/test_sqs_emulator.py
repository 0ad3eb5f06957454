"""What the docs say of the embedded SQS: who can reach it, and what it keeps."""

import asyncio
import os
import signal

import psutil
import pytest

from backburner.local.programs import emulator
from backburner.publishers import ensure_topics
from backburner.publishers.sqs.connection import sqs_client, sqs_session
from backburner.settings import Settings
from backburner_schemas.errors import SettingsError

pytestmark = pytest.mark.broker

QUEUE = "backburner-fake-low"


@pytest.fixture
def running(tmp_path, missing_server, monkeypatch):
    try:
        emulator.check_emulator()
    except SettingsError as error:
        missing_server(str(error))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with emulator.start(tmp_path) as one:
        yield one


def test_it_listens_on_loopback_alone_keeps_what_it_has_at_a_stop_and_forgets_it_at_a_kill(running):
    settings = Settings.load(queue_url=running.url, store_url="memory:///")
    client = sqs_client(sqs_session(settings), settings, connections=1, read_seconds=30.0, attempts=5)

    def waiting():
        url = client.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    asyncio.run(ensure_topics(settings, "fake"))
    heard = psutil.Process(running.child.pid).net_connections()
    assert {found.laddr for found in heard if found.status == psutil.CONN_LISTEN} == {("127.0.0.1", running.port)}
    client.send_message(QueueUrl=client.get_queue_url(QueueName=QUEUE)["QueueUrl"], MessageBody="{}")
    running.stop()
    running.start()
    assert waiting() == 1
    os.kill(running.child.pid, signal.SIGKILL)
    running.child.stop(grace=10.0)
    running.start()
    assert waiting() == 1, "what it wrote down at its last stop"
