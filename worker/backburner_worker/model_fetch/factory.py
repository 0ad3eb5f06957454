"""Opens the source that the settings name."""

from pathlib import Path
from urllib.parse import urlsplit

from backburner.settings.addresses import shown
from backburner_schemas.errors import SettingsError
from backburner_worker.model_fetch.folder_source import FolderSource
from backburner_worker.model_fetch.hub_source import HubModel, HubSource
from backburner_worker.model_fetch.source import ModelSource
from backburner_worker.model_fetch.store_source import StoreSource
from backburner_worker.settings import WorkerSettings

_FORMS = "write s3://bucket/folder, gs://…, az://…, hf://org/name@revision or file:///folder"


def open_model_source(settings: WorkerSettings) -> ModelSource:
    """The source of `BACKBURNER_MODEL_SOURCE`; no request is made. Raises `SettingsError`."""
    url = settings.model_source
    parts = urlsplit(url)
    match parts.scheme:
        case "s3":
            return StoreSource.open(settings, url, settings.model_endpoint or settings.store_endpoint)
        case "gs" | "az":
            return StoreSource.open(settings, url, None)
        case "hf":
            return HubSource(HubModel.parse(url))
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return FolderSource(Path(parts.path))
        case _:
            said = f"{shown(url)!r} is not understood" if url else "is not set"
            raise SettingsError(f"BACKBURNER_MODEL_SOURCE {said}; {_FORMS}")
