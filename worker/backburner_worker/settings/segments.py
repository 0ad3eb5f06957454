"""Settings of when results are written."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup
from backburner_worker.settlement.segments import SegmentLimits


class SegmentSettings(SettingGroup):
    """Segments: when the results of a job are written into the store, many as one object."""

    segment_max_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Bytes of a job's records at which they are written, as one segment."""
    segment_max_records: Annotated[int, Field(ge=1)] = 4096
    """Records of a job at which they are written, as one segment."""
    segment_min_age_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds after which a young job's records are written; those of an older job wait for a tenth of its age."""
    segment_max_age_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a job's records are written, however old the job is."""

    @property
    def segment_limits(self) -> SegmentLimits:
        """When a segment is written."""
        return SegmentLimits(
            max_bytes=self.segment_max_bytes,
            max_records=self.segment_max_records,
            min_age=self.segment_min_age_seconds,
            max_age=self.segment_max_age_seconds,
        )
