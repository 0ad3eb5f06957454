"""AWS's own chain of credentials, for what is no SQS: signatures for Amazon MSK, and the store where AWS is configured.

The only module but for the folders of SQS that knows botocore, which is installed with the extra `sqs`.
"""

import base64
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backburner.credentials.files import FromFiles
from backburner.credentials.shared_file import AwsKeys, renewed_file, shared_file
from backburner_schemas.errors import SettingsError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session

_TOKEN_SECONDS = 900
"""What MSK takes at most."""
_SERVICE = "kafka-cluster"
_USER_AGENT = "User-Agent=backburner"
_BROKER = re.compile(r"\.(?:kafka|kafka-serverless)\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$")
"""How MSK names its brokers."""


def has_chain() -> bool:
    """Whether AWS's library is installed."""
    return importlib.util.find_spec("botocore") is not None


def chain_keys() -> Callable[[], AwsKeys]:
    """A function that returns the keys of AWS's own chain, which renews them as they grow old. Needs AWS's library.

    Each call may block while they are fetched. Both raise `SettingsError` where there are none.
    """
    session = renewing_session()

    def keys() -> AwsKeys:
        found = _frozen(session)
        return AwsKeys(found.access_key or "", found.secret_key or "", found.token)

    keys()
    return keys


def renewing_session() -> "Session":
    """A session with AWS's own chain, whose shared file is read again when it has changed. Needs AWS's library.

    That library reads the file once, so that keys that are renewed in it would be refused when the old ones end.
    """
    from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials
    from botocore.session import Session

    class FileKeys(Credentials):
        """The file's keys of the moment."""

        def __init__(self, keys: FromFiles[AwsKeys]) -> None:
            self._keys = keys
            first = keys.current()
            super().__init__(first.key_id, first.secret, first.session_token, method=SharedFile.METHOD)

        def get_frozen_credentials(self) -> ReadOnlyCredentials:
            """What a call is signed with."""
            keys = self._keys.current()
            return ReadOnlyCredentials(keys.key_id, keys.secret, keys.session_token)

    class SharedFile(CredentialProvider):
        """The link of the chain that reads the shared file."""

        METHOD = "renewed-shared-file"
        CANONICAL_NAME = None

        def load(self) -> Credentials | None:
            """The keys of the profile, if the file is there and has any. Raises `SettingsError` if it cannot be used.

            AWS's own tools pass by a file that is not there, even one that is named: a role may stand behind it.
            """
            file = shared_file()
            keys = renewed_file("AWS keys") if file is not None and file.exists() else None
            return None if keys is None else FileKeys(keys)

    session = Session()
    session.get_component("credential_provider").insert_before("shared-credentials-file", SharedFile())
    return session


def _frozen(session: "Session") -> "ReadOnlyCredentials":
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = session.get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:  # what AWS itself refuses, such as a role, is not one of the former
        raise SettingsError(f"AWS's credentials cannot be used: {error}; correct the profile or the role") from error
    if frozen is None:
        raise SettingsError(
            "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this pod a role"
        )
    return frozen


@dataclass(frozen=True, slots=True)
class MskTokens:
    """Signs in to Amazon MSK as the AWS identity that this process has, whose keys may change at any time."""

    region: str
    session: "Session"

    @classmethod
    def for_brokers(cls, servers: tuple[str, ...]) -> "MskTokens":
        """For these bootstrap servers. Makes no request. Raises `SettingsError` without botocore or a region."""
        if not has_chain():
            raise SettingsError("aws-msk-iam signs with AWS's own library; install it: pip install 'backburner[sqs]'")
        session = renewing_session()
        region = region_of(servers) or session.get_config_variable("region") or os.environ.get("AWS_REGION")
        if not region:
            raise SettingsError("aws-msk-iam needs the region of the cluster; set AWS_REGION")
        return cls(str(region), session)

    def token(self) -> str:
        """A token that is good for new connections within 15 minutes. Blocks: keys may have to be fetched.

        Raises `SettingsError` where there are no credentials.
        """
        return msk_token(self.region, _frozen(self.session))


def region_of(servers: tuple[str, ...]) -> str | None:
    """The region in the names of MSK's brokers; None where they have other names."""
    for server in servers:
        if found := _BROKER.search(server.rpartition(":")[0]):
            return found[1]
    return None


def msk_token(region: str, credentials: "ReadOnlyCredentials") -> str:
    """The token that MSK takes: a call of `kafka-cluster:Connect` that is signed and not made, as base 64 for URLs."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    suffix = ".cn" if region.startswith("cn-") else ""
    request = AWSRequest(
        method="GET", url=f"https://kafka.{region}.amazonaws.com{suffix}/", params={"Action": f"{_SERVICE}:Connect"}
    )
    SigV4QueryAuth(credentials, _SERVICE, region, expires=_TOKEN_SECONDS).add_auth(request)
    return base64.urlsafe_b64encode(f"{request.url}&{_USER_AGENT}".encode()).rstrip(b"=").decode()
