"""Settings of the result cache."""

from typing import Annotated

from pydantic import Field

from backburner.settings.group import SettingGroup


class ResultCacheSettings(SettingGroup):
    """Result cache: whether a request that was answered before gets the same answer."""

    result_cache_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Seconds for which an answer is given again to the same request of the same tenant, if that has the temperature 0
    or a seed; 0 keeps no answers."""
    model_version: str = ""
    """Version of the model, for weights that change behind one name; the result cache keeps versions apart."""
