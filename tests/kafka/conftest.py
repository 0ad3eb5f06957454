"""What the tests of `make kafka-test` share: three brokers for the session, and pools on them."""

from queues.fixtures import (  # noqa: F401 - fixtures are found here by their names
    apache_kafka,
    cluster,
    cluster_pool,
    kafka_pool,
    make_harness,
    session_cluster,
    settings_for,
)
