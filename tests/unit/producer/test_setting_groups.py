"""Groups of settings: each returns one object that has the values which were set."""

import pytest
from pydantic import SecretStr

from backburner.settings import Queue, QueueKind, Settings
from backburner.settings.kafka import KafkaSecurity, KafkaTokens
from backburner.settings.topics import TopicLayout


def test_the_queue_is_its_url_taken_apart():
    queue = Settings.load(queue_url="sqs://eu-west-1?endpoint=http://127.0.0.1:4566").queue
    assert queue == Queue(kind=QueueKind.SQS, region="eu-west-1", endpoint="http://127.0.0.1:4566")


def test_the_security_of_kafka_is_what_is_set():
    settings = Settings.load(
        kafka_security_protocol="SASL_SSL",
        kafka_security_mechanism="PLAIN",
        kafka_security_username="u",
        kafka_security_password="p",
        kafka_security_ca_file="/ca",
        kafka_security_cert_file="/cert",
        kafka_security_key_file="/key",
    )
    assert settings.kafka_security == KafkaSecurity(
        "SASL_SSL",
        "PLAIN",
        "u",
        SecretStr("p"),
        password_file=None,
        ca_file="/ca",
        cert_file="/cert",
        key_file="/key",
        tokens=KafkaTokens(),
    )


def test_the_layout_of_topics_is_what_is_set():
    settings = Settings.load(topic_partitions=3, topic_replication=2, topic_retention_seconds=60.0)
    assert settings.topic_layout == TopicLayout(3, 2, 60.0)


@pytest.mark.parametrize(("name", "value"), [("TOPIC_PARTITIONS", "7"), ("KAFKA_SECURITY_PROTOCOL", "SSL")])
def test_a_setting_of_a_group_is_a_flat_variable(monkeypatch, name, value):
    monkeypatch.setenv(f"BACKBURNER_{name}", value)
    assert str(getattr(Settings.load(), name.lower())) == value


def test_a_password_is_kept_out_of_what_a_group_shows():
    assert "secret!" not in repr(Settings.load(kafka_security_password="secret!").kafka_security)
