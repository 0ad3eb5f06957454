"""Turns a GGUF file into a folder that vLLM loads: weights as safetensors, config, tokenizer, chat template.

Run as a program of its own (`python -m backburner.local.convert SOURCE_DIR GGUF_NAME TARGET_DIR`), so that the
memory that torch uses is freed with it. It fetches nothing, and checks nothing: `model` does both.
"""

import os
import sys
from pathlib import Path

ARGUMENT_COUNT = 3


def convert(source: Path, gguf_name: str, target: Path) -> None:
    """Write the model in `source/gguf_name` into the folder `target`, dequantized to bfloat16."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_name)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=gguf_name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=gguf_name, dequantize=True),
    )
    # The weights are plain bfloat16 now; left in place, this field makes vLLM look for a GGUF file.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> int:
    """The program: three arguments, nothing on stdout."""
    if len(sys.argv) != ARGUMENT_COUNT + 1:
        sys.stderr.write("usage: python -m backburner.local.convert SOURCE_DIR GGUF_NAME TARGET_DIR\n")
        return 2
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
