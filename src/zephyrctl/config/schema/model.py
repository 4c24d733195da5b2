"""Settings of the base model, its template and its adapters."""

from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Section


class Model(Section):
    """Which base model is trained, and in which form it is loaded."""

    base: str = "mistralai/Mistral-7B-v0.1"
    """Base model: a Hub id, a folder (`./`, `../`, `/` or `~` first), or a name listed by
    `zephyrctl models list`."""
    revision: str | None = None
    """Commit, tag or branch of a Hub base model; null takes the Hub's default branch. It belongs to
    its base: a recipe's revision is dropped where you name another base model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights that are only run (chat, evaluation, the base under an adapter).
    `auto` is bfloat16 where the accelerator computes in it, float32 otherwise. Weights that are
    trained are always float32; bfloat16 and float16 are refused where there is no adapter."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "auto"
    """Attention kernel. `auto` is PyTorch's own scaled dot product attention."""
    chat_template: str = "zephyr"
    """Template of the trained models: a packaged name, a `.jinja` file, or `tokenizer` for the
    base tokenizer's own."""
    load_in_4bit: bool = False
    """Quantize the base weights to 4-bit NF4 (QLoRA). Needs the `cuda` extra and an adapter."""


class Adapter(Section):
    """A PEFT adapter, or none for training the weights themselves."""

    type: Literal["none", "lora", "dora"] = "none"
    """`none` trains the weights, `lora` and `dora` train a low-rank adapter."""
    r: int = Field(default=16, ge=1)
    """Rank of the adapter matrices."""
    alpha: int = Field(default=16, ge=1)
    """Scale of the adapter: its output is multiplied by alpha / r."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """Modules that get an adapter, as a list of names, or every linear layer but the output head,
    routers, and what a state-space kernel reads past its layers. Experts that share one tensor are
    reached by name only: `experts.gate_up_proj`, `experts.down_proj`."""
