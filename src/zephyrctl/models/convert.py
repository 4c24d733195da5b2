"""How a GGUF file becomes a folder that can be trained: dense weights, tokenizer, template.

Runs in a child process, `python -m zephyrctl.models.convert GGUF FOLDER`, so that the command that
asked for it never loads torch.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

JUNK = ("is_local", "local_files_only", "name_or_path", "gguf_file")


def convert(gguf: Path, folder: Path) -> None:
    """Write `gguf` as bfloat16 safetensors with its tokenizer into the existing `folder`.

    transformers 5 takes a GGUF load for a quantized model, which can be neither saved nor trained;
    `dequantize=True` makes it an ordinary one (stated in quantizers/quantizer_gguf.py).
    """
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        local_files_only=True,
        trust_remote_code=False,
    )
    assert isinstance(model, PreTrainedModel)
    tokenizer = AutoTokenizer.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
    )
    limit = model.config.max_position_embeddings
    if tokenizer.model_max_length > limit:  # 1e30 where the GGUF does not say
        tokenizer.model_max_length = limit
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _drop_keys(folder / "tokenizer_config.json", JUNK)
    _drop_keys(folder / "config.json", ("_name_or_path", "quantization_config"))


def _drop_keys(path: Path, keys: tuple[str, ...]) -> None:
    """Rewrite a JSON file without `keys`: traces of the conversion, some of them local paths."""
    values = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in values.items() if key not in keys}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
