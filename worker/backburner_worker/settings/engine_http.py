"""Settings of the engine that calls servers elsewhere."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from backburner.settings.group import SettingGroup
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions, parse_urls
from backburner_worker.settings.comma_separated import CommaSeparated


class EngineHttpSettings(SettingGroup):
    """Servers elsewhere: what the engine `openai-http` calls, and how."""

    engine_urls: CommaSeparated = ""
    """Base URLs of servers with OpenAI's API, up to before `/v1`, with commas between; requests go to the least loaded
    one that answers."""
    engine_token_file: str = ""
    """File with the bearer token for the servers; read again when it changes."""
    engine_ca_file: str = ""
    """PEM file of the authorities that sign the servers' certificates; the system's if not set. Read again when it
    changes."""
    engine_cert_file: str = ""
    """PEM file of the client's certificate, for servers that ask for one; read again when it changes."""
    engine_key_file: str = ""
    """PEM file of the client certificate's key, if it is not in the certificate's file; read again when it changes."""
    engine_http_start_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds that a start waits for the first of the servers to answer a real request."""
    engine_http_answer_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds that a server may take for one answer; then the request is tried again."""

    @model_validator(mode="after")
    def _urls_can_be_read(self) -> Self:
        _ = self.openai_http_options
        return self

    @property
    def openai_http_options(self) -> OpenAiHttpOptions:
        """The servers, and how they are called. Raises `ValueError` for what is no URL."""
        return OpenAiHttpOptions(
            urls=parse_urls(self.engine_urls),
            token_file=self.engine_token_file,
            ca_file=self.engine_ca_file,
            cert_file=self.engine_cert_file,
            key_file=self.engine_key_file,
            start_seconds=self.engine_http_start_seconds,
            answer_seconds=self.engine_http_answer_seconds,
        )
