"""Settings of the queue and the object store: where they are."""

from typing import Annotated

from pydantic import Field

from backburner.settings.authorities import AuthorityFile, store_authority_file
from backburner.settings.group import SettingGroup
from backburner.settings.queue_url import Queue, parse_queue
from backburner_schemas.routing import DEFAULT_PREFIX


class ConnectionSettings(SettingGroup):
    """Queue and store: where they are, and the names in them."""

    queue_url: str = ""
    """Queue: `kafka://host:port,host:port`, or `sqs://region`, with `?endpoint=http://…` for one that is not AWS's."""
    store_url: str = ""
    """Object store and root: `s3://bucket/root`, `gs://…`, `az://…` or `file:///folder`."""
    store_endpoint: str | None = None
    """Address of a store that is not its provider's own, such as `http://127.0.0.1:8333`; not for `file://`."""
    store_ca_file: str | None = None
    """PEM file of the authority that signed the store's certificate, which is trusted beside the public ones; if not
    set, what `AWS_CA_BUNDLE` names, else `SSL_CERT_FILE`. It holds for an SQS server that is not AWS's, too."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")] = DEFAULT_PREFIX
    """First part of every topic and group name: at most 80 letters, digits, `.`, `_` and `-`."""
    pool: str | None = None
    """Pool whose requests a worker answers; from the model's served name if not set. A client takes its model where a
    request names none. A worker needs the name that `backburner pools` lists, of at most 40 of `a` to `z`, digits and
    `-`; a client also takes the model's."""

    @property
    def queue(self) -> Queue:
        """The queue's URL, taken apart. Raises `SettingsError` if it is not set or not understood."""
        return parse_queue(self.queue_url)

    @property
    def store_authorities(self) -> AuthorityFile | None:
        """The file of authorities that the store is trusted by, beside the public ones; None if there is none."""
        return store_authority_file(self.store_ca_file)
