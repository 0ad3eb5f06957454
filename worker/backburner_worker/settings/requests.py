"""Settings of what a request may ask for."""

from backburner.settings.group import SettingGroup
from backburner_worker.requests.limits import DATA_URLS, BodyLimits
from backburner_worker.settings.comma_separated import CommaSeparated, split


class RequestSettings(SettingGroup):
    """Requests: what they may ask for, and whether they may be logged."""

    allowed_parameters: CommaSeparated = ""
    """Fields of a request's body that are let through beside the known ones, comma-separated."""
    allowed_media_domains: CommaSeparated = ""
    """Domains that images, audio and video may be fetched from, comma-separated; `data` allows inline data. No domain
    if not set."""
    log_prompts: bool = False
    """Whether a worker's log may hold the text of requests."""

    @property
    def extra_parameters(self) -> frozenset[str]:
        """The body fields that are let through beside the known ones."""
        return split(self.allowed_parameters)

    @property
    def body_limits(self) -> BodyLimits:
        """The caps on one request's body."""
        return BodyLimits(media_domains=frozenset(map(_media_domain, split(self.allowed_media_domains))))


def _media_domain(given: str) -> str:
    """As a body's URLs are compared with it: hosts in lower case; `data`, with or without its colon, is no host."""
    domain = given.lower()
    return DATA_URLS if domain in {DATA_URLS, DATA_URLS.removesuffix(":")} else domain
