"""Where Apache Kafka's jars are: an unpacked release that a variable names, or the one default beside the checkout."""

import os
from pathlib import Path

from backburner_schemas.errors import SettingsError

VARIABLE = "BACKBURNER_TEST_KAFKA"
_DEFAULT = Path(__file__).parents[3] / "shared" / "kafka"
_BROKER_JAR = "kafka_2.*.jar"
_REMEDY = (
    f"unpack a release (kafka_2.13-4.4.0.tgz from https://kafka.apache.org/downloads) and set {VARIABLE} to its folder"
)


class KafkaMissing(SettingsError):
    """Apache Kafka, or the Java that runs it, is not on this machine."""


def find_jars() -> Path:
    """The folder with the jars.

    Raises `KafkaMissing` where there is no Kafka, and `SettingsError` where the variable names something else.
    """
    named = os.environ.get(VARIABLE)
    jars = (Path(named) if named else _DEFAULT) / "libs"
    if any(jars.glob(_BROKER_JAR)):
        return jars.absolute()
    if named:
        raise SettingsError(f"{VARIABLE} is {named}, and there is no libs/{_BROKER_JAR} in it; {_REMEDY}")
    raise KafkaMissing(f"Apache Kafka is not on this machine; {_REMEDY}")
