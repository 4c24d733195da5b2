"""How the toy base model is built: random weights, and a tokenizer trained on the wheel's text.

No torch: the weights are drawn with numpy and written as safetensors, so that a build takes about
a second and gives the same bytes on every machine. The model has Mistral's architecture and knows
nothing; its answers before training are noise, and after training they are toys.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SEED = 20261122
VOCABULARY = 768
BOS, EOS, PAD = "<s>", "</s>", "<pad>"

CONFIG: dict[str, object] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.06,
    "intermediate_size": 384,
    "max_position_embeddings": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "float32",
    "use_cache": True,
}
"""The architecture; `vocab_size` is what the tokenizer has.

Weights are drawn three times wider than the usual 0.02: so small a model otherwise needs twice the
steps before it copies a name from the prompt.
"""

TEXT = Path(__file__).parents[1] / "recipes" / "tiny"


def build(folder: Path) -> None:
    """Write the model and its tokenizer into the existing, empty `folder`."""
    tokenizer = train_tokenizer(_texts(TEXT))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**CONFIG, "vocab_size": tokenizer.get_vocab_size()}
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())
    _write_json(folder / "generation_config.json", _generation_config())
    save_file(draw_weights(config), folder / "model.safetensors", metadata={"format": "pt"})


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer that opens every text with BOS, as Mistral's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def _texts(folder: Path) -> list[str]:
    """The wheel's dialogues, each wrapped in the words of the Zephyr template."""
    texts = []
    for line in (folder / "dialogues.jsonl").read_text(encoding="utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            texts.append(f"<|{message['role']}|>\n{message['content']}\n")
        texts.append("<|system|>\n")
    return texts


def draw_weights(config: dict[str, object]) -> dict[str, np.ndarray]:
    """Every weight by its name, float32, drawn as `transformers` would initialise it.

    Each weight has a generator of its own, seeded with SEED and its position, so the values do not
    depend on how many others there are. numpy's PCG64 gives one stream on every platform.
    """
    spread = config["initializer_range"]
    assert isinstance(spread, float)
    scale = np.float32(spread)
    weights = {}
    for number, (name, shape) in enumerate(weight_shapes(config).items()):
        if name.endswith("norm.weight"):
            weights[name] = np.ones(shape, dtype=np.float32)
            continue
        rng = np.random.Generator(np.random.PCG64([SEED, number]))
        weights[name] = rng.standard_normal(shape, dtype=np.float32) * scale
    return weights


def weight_shapes(config: dict[str, object]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight of a Mistral model, in checkpoint order."""
    sizes = {key: value for key, value in config.items() if isinstance(value, int)}
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    queries = sizes["num_attention_heads"] * sizes["head_dim"]
    keys = sizes["num_key_value_heads"] * sizes["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (sizes["vocab_size"], hidden)
    }
    for layer in range(sizes["num_hidden_layers"]):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "input_layernorm": (hidden,),
                "self_attn.q_proj": (queries, hidden),
                "self_attn.k_proj": (keys, hidden),
                "self_attn.v_proj": (keys, hidden),
                "self_attn.o_proj": (hidden, queries),
                "post_attention_layernorm": (hidden,),
                "mlp.gate_proj": (inner, hidden),
                "mlp.up_proj": (inner, hidden),
                "mlp.down_proj": (hidden, inner),
            }.items()
        }
    shapes["model.norm.weight"] = (hidden,)
    shapes["lm_head.weight"] = (sizes["vocab_size"], hidden)
    return shapes


def _tokenizer_config() -> dict[str, object]:
    return {
        "bos_token": BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": CONFIG["max_position_embeddings"],
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _generation_config() -> dict[str, object]:
    return {key: CONFIG[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
