"""LoRA adapters as a setting names them, checked before the model loads, and as vLLM's arguments. Loads none."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backburner_schemas.errors import SettingsError

SETTING = "BACKBURNER_ADAPTERS"

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` may be."""
_DEFAULT_ADAPTER_COUNT = 4
"""Default of the adapters in one batch: each takes memory beside the model, and work comes grouped."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on the base model."""

    name: str
    """What requests call it by, as `model`."""
    folder: str
    """Where its files are, in the layout of PEFT."""


def parse_adapters(text: str) -> tuple[Adapter, ...]:
    """The adapters of a setting, `legal=/models/legal,chat=/models/chat`. Raises `ValueError`, which names the part."""
    adapters: dict[str, Adapter] = {}
    for part in (one.strip() for one in text.split(",")):
        if not part:
            continue
        name, equals, folder = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not folder or not name.isprintable():
            raise ValueError(f"{SETTING}: {part!r} is not NAME=FOLDER; write it like legal=/models/legal")
        if name in adapters:
            raise ValueError(f"{SETTING}: {name!r} is named twice; give each adapter a name of its own")
        adapters[name] = Adapter(name, folder)
    return tuple(adapters.values())


def check_names(adapters: Sequence[Adapter], served_name: str) -> None:
    """Raise `SettingsError` for an adapter that has the base model's name."""
    if any(adapter.name == served_name for adapter in adapters):
        raise SettingsError(f"{SETTING}: {served_name!r} is the base model's own name; give the adapter another")


def rank_of(adapter: Adapter) -> int:
    """The adapter's rank, from its files. Raises `SettingsError` unless these are there and can be read."""
    folder = Path(adapter.folder).expanduser()
    where = f"{SETTING}: the adapter {adapter.name!r}"
    if not folder.is_dir():
        raise SettingsError(f"{where} does not exist: {folder} is not a folder; name the folder with its files")
    config = folder / _CONFIG
    try:
        found = json.loads(config.read_bytes())
    except FileNotFoundError:
        raise SettingsError(
            f"{where}: {folder} has no {_CONFIG}; name a folder that PEFT's save_pretrained wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where}: {config} cannot be read ({error}); save the adapter again") from error
    rank = found.get("r") if isinstance(found, dict) else None
    if type(rank) is not int or not 1 <= rank <= _RANKS[-1]:
        raise SettingsError(f"{where}: its rank, r in {config}, is {rank!r}; it must be from 1 to {_RANKS[-1]}")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise SettingsError(f"{where}: {folder} has no {_WEIGHTS[0]}; copy the weights there too")
    return rank


def vllm_arguments(adapters: Sequence[Adapter], given: Iterable[str]) -> list[str]:
    """VLLM's arguments for these adapters, to be put before the operator's own. Raises `SettingsError`.

    What the operator sets for ranks and numbers of adapters stays; naming adapters in both places is refused.
    """
    if not adapters:
        return []
    if any(argument.partition("=")[0].replace("_", "-") == "--lora-modules" for argument in given):
        raise SettingsError(f"adapters are named in {SETTING} and in --lora-modules; move all of them to {SETTING}")
    highest = max(map(rank_of, adapters))
    at_once = min(len(adapters), _DEFAULT_ADAPTER_COUNT)
    modules = [
        json.dumps({"name": one.name, "path": str(Path(one.folder).expanduser().absolute())}) for one in adapters
    ]
    return [
        "--enable-lora",
        *("--max-lora-rank", str(next(rank for rank in _RANKS if rank >= highest))),
        *("--max-loras", str(at_once)),
        # All of them stay in memory: one that is read again at each turn would cost more than its room.
        *("--max-cpu-loras", str(len(adapters))),
        *("--lora-modules", *modules),
    ]
