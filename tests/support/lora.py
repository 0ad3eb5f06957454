"""A LoRA adapter with random weights, in PEFT's layout: what it says means nothing, only that it differs."""

import json
from pathlib import Path

_TARGETS = ("q_proj", "v_proj")


def write_adapter(folder: Path, model: Path, *, seed: int, rank: int = 8, strength: float = 0.3) -> Path:
    """Write an adapter for a model of Llama's form into that folder. The same bytes for the same seed."""
    # They come with vLLM; tests that need neither import this file all the same.
    import numpy as np
    from safetensors.numpy import save_file

    config = json.loads((model / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = hidden // heads
    outputs = {"q_proj": heads * width, "v_proj": config["num_key_value_heads"] * width}
    chance = np.random.default_rng(seed)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        for target in _TARGETS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            down = chance.standard_normal((rank, hidden), np.float32) / np.float32(hidden**0.5)
            up = chance.standard_normal((outputs[target], rank), np.float32) * np.float32(strength)
            weights |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(_TARGETS),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))
    return folder
