"""Settings of what is held before the engine, and what is in it."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from backburner.settings.group import SettingGroup
from backburner_schemas.names import Lane
from backburner_worker.settings.comma_separated import CommaSeparated, split


class FeedingSettings(SettingGroup):
    """Feeding the engine: how many requests are in it, how many are held before it, and how lanes share it."""

    concurrency: Annotated[int, Field(ge=0), BeforeValidator(lambda given: 0 if given == "auto" else given)] = 0
    """Requests in the engine at once; 0 or `auto` finds out how many keep it busy, and changes that as it goes."""
    prefetch: Annotated[int, Field(ge=1)] = 1024
    """Requests of each lane that a worker holds before the engine, and puts in order there."""
    prefetch_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * 1024
    """Bytes of each lane's messages that a worker holds before the engine; one pull may go over it once. A message
    counts as what it is parsed into, where that takes far more. Bodies that the store keeps for messages are fetched
    once they run, and may take as much as all lanes together."""
    lane_weights: CommaSeparated = "high=8,normal=4,retry=2,low=1"
    """Share of the engine that each lane gets while all lanes have requests, `LANE=WEIGHT,…`."""

    @model_validator(mode="after")
    def _weights_can_be_read(self) -> Self:
        _ = self.weights
        return self

    @property
    def weights(self) -> dict[Lane, int]:
        """The lanes' weights. Raises `ValueError` for what is no lane and weight."""
        weights = dict.fromkeys(Lane, 1)
        for part in split(self.lane_weights):
            lane, _, weight = part.partition("=")
            if lane not in set(Lane) or not weight.isdigit() or int(weight) < 1:
                raise ValueError(f"BACKBURNER_LANE_WEIGHTS: {part!r} is not LANE=WEIGHT with a weight from 1")
            weights[Lane(lane)] = int(weight)
        return weights
