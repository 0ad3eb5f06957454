"""Settings of who a worker is."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup
from backburner_schemas import routing


class IdentitySettings(SettingGroup):
    """Pool and name: which requests a worker answers, and what it is called."""

    pool: Annotated[str | None, Field(pattern=r"^[a-z0-9-]{1,40}$")] = None
    """Pool whose requests the worker answers; from the model's served name if not set. At most 40 of `a` to `z`, digits
    and `-`."""
    worker_id: str | None = None
    """Name that the worker keeps over restarts; on Kafka it makes the membership static. A new one at each start if not
    set."""
    worker_group: str | None = None
    """Name of the group of workers that this one was started in, for records and metrics; the pool's if not set."""

    def pool_for(self, model: str) -> str:
        """The pool to work for, given the model's served name."""
        return self.pool or routing.pool_name(model)
