"""Queues for the contract tests: one harness a test, on each kind of queue in turn, or on an outside one alone."""

from queues.fixtures import (  # noqa: F401 - fixtures are found here by their names
    apache,
    apache_kafka,
    bootstrap,
    emulator,
    file_apache,
    harness,
    kafka_pool,
    make_harness,
    pool,
    settings_for,
    spare_apache,
    spare_pool,
    tansu,
    whole_pool,
)
