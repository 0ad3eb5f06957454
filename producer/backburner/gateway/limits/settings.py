"""Settings of how the gateway holds callers to their quotas."""

from typing import Annotated

from pydantic import Field

from backburner.gateway.limits.level_reader import LevelReader
from backburner.gateway.limits.limiter import Limiter, Unlimited
from backburner.gateway.limits.quota_limiter import QuotaLimiter
from backburner.quotas import QuotasFile
from backburner.settings.quotas import QuotaSettings
from backburner.storage import Storage


class LimitSettings(QuotaSettings):
    """Limits: how many gateways share the quotas."""

    gateway_replicas: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Gateways that run at the same time: each gives its part of the rates and of the uploads at a time."""

    def open_limiter(self, storage: Storage) -> Limiter:
        """A limiter by the file of quotas; without a file nothing is limited. Raises `SettingsError`."""
        if self.quotas_file is None:
            return Unlimited()
        return QuotaLimiter(QuotasFile.of(self), LevelReader(storage), replicas=self.gateway_replicas)
