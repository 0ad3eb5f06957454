"""The kinds of store that are reached over a network, and which variables each is set up with."""

from enum import StrEnum

from obstore.store import AzureStore, GCSStore, ObjectStore


class Provider(StrEnum):
    """A kind of store; its value is the scheme of its URLs."""

    S3 = "s3"
    GOOGLE = "gs"
    AZURE = "az"

    @classmethod
    def of(cls, store: ObjectStore) -> "Provider":
        """The store's kind; S3 for one that is reached over no network."""
        if isinstance(store, AzureStore):
            return cls.AZURE
        return cls.GOOGLE if isinstance(store, GCSStore) else cls.S3

    @property
    def credentials_remedy(self) -> str:
        """What to set for the store to know who calls, as a clause."""
        return _CREDENTIALS[self]


_CREDENTIALS = {
    Provider.S3: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this pod a role",
    Provider.GOOGLE: "name a service account's key file in GOOGLE_APPLICATION_CREDENTIALS, or give this pod a role",
    Provider.AZURE: (
        "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY or a workload identity"
    ),
}
