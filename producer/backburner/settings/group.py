"""What a group of settings is: fields with docstrings, and the objects that they make up."""

from pydantic import BaseModel, ConfigDict


class SettingGroup(BaseModel):
    """A base of settings, never used alone. Its docstring is its heading in docs/settings.md: `Heading: sentence.`."""

    # Built with the settings that consist of it, and not at every start for itself.
    model_config = ConfigDict(defer_build=True)
