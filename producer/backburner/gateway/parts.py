"""What the gateway's handlers work with: each part is built once, and handed to those who need it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from backburner.connections import Connections
from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.auth.audit_log import AuditLog
from backburner.gateway.auth.authenticator import Authenticator
from backburner.gateway.auth.principal import Principal
from backburner.gateway.batches.batch_store import BatchStore
from backburner.gateway.batches.results import BatchResults
from backburner.gateway.batches.running_counts import RunningCounts
from backburner.gateway.files.file_store import FileStore
from backburner.gateway.limits.limiter import Limiter
from backburner.gateway.limits.upload_places import UploadPlaces
from backburner.gateway.models.catalogue import ModelCatalogue
from backburner.gateway.requests.answers import Answers
from backburner.gateway.requests.enqueuer import Enqueuer
from backburner.gateway.requests.signing_key import SigningKey
from backburner.gateway.settings import GatewaySettings
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.gateway.uploads.upload_store import UploadStore
from backburner.storage import Storage


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one gateway."""

    settings: GatewaySettings
    connections: Connections
    authenticator: Authenticator
    limiter: Limiter
    audit: AuditLog
    telemetry: GatewayTelemetry
    models: ModelCatalogue
    running_counts: RunningCounts
    answer_memory: AnswerMemory
    enqueuer: Enqueuer
    signing_key: SigningKey
    waits: asyncio.Semaphore
    """Calls that may wait for an answer at the same time: they must not take every place from those that do not."""

    upload_places: UploadPlaces

    @asynccontextmanager
    async def uploading(self, principal: Principal) -> AsyncIterator[None]:
        """Count an upload while the block lasts; it may have to wait for its place.

        Raises `RateLimited` for the caller's own limits, and `Overloaded` where no place became free in time.
        """
        seconds = self.settings.gateway_answer_seconds
        async with self.limiter.uploading(principal), self.upload_places.one(principal.tenant, seconds):
            yield

    @property
    def storage(self) -> Storage:
        """The whole store; handlers take `files`, `batches` and the like, which see one tenant alone."""
        return self.connections.storage

    def files(self, tenant: str) -> FileStore:
        """The files of a tenant."""
        return FileStore(self.storage, tenant)

    def batches(self, tenant: str) -> BatchStore:
        """The batches of a tenant."""
        return BatchStore(
            self.storage,
            tenant,
            counts=self.running_counts,
            grace=self.settings.freeze_grace_seconds,
            watch=self.connections.job_watch,
        )

    def uploads(self, tenant: str) -> UploadStore:
        """The uploads of a tenant."""
        return UploadStore(self.storage, tenant)

    def answers(self, tenant: str) -> Answers:
        """The answers to a tenant's single requests."""
        return Answers(self.storage, tenant, memory=self.answer_memory)

    def results(self, tenant: str) -> BatchResults:
        """The result files of a tenant's batches."""
        return BatchResults(self.storage, tenant)


def parts_of(request: Request) -> Parts:
    """The parts of the gateway that serves the request."""
    found = request.app.state.parts
    assert isinstance(found, Parts)
    return found
