"""What does a reader of a published model have to know? (`README.md` with the Hub's metadata)

Every figure comes from the run's own files. Paths of this machine stay out of it: a base model or
data set that is no Hub id is called a local one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.config.schema import Recipe
from zephyrctl.data.template_lock import TemplateLock
from zephyrctl.publishing.card_metadata import Form, base_of, licence, metadata, on_the_hub
from zephyrctl.publishing.card_scores import evaluation, standing
from zephyrctl.publishing.card_text import plain, public
from zephyrctl.publishing.card_training import data, training
from zephyrctl.publishing.files import CARD as CARD
from zephyrctl.runs.references import ModelRef

_LOCAL = "a local model"


@dataclass(frozen=True)
class Facts:
    """What exporting found out. `difference` is the mean of `tokens` tokens, in nats."""

    dtype: str
    parameters: int
    adapters: int
    tokens: int
    checked_on: str
    difference: float


def model_card(
    ref: ModelRef,
    facts: Facts,
    *,
    lock: TemplateLock | None,
    template: str,
    form: Form = "merged",
    usage: str | None = None,
    name: str | None = None,
) -> str:
    """The card of an exported model; without a run it says that the training is not known.

    `usage` is the Markdown of how such a model is used, where `form` does not say it; `name` is
    the repository that it is published in.
    """
    run = ref.run
    recipe = run.recipe() if run is not None else None
    title = f"{run.name} {ref.stage}" if run is not None else ref.name
    base = base_of(ref, recipe, lock)
    stage = ref.stage or (lock.stage if lock else None)
    scores = [file for file in standing(run)[0] if file.model == stage] if run else []
    head = metadata(
        title=title, base=base, stage=stage, form=form, recipe=recipe, scores=scores
    )  # fmt: skip
    parts = [
        head,
        f"# {plain(title)}\n",
        *_origin(base, ref, facts, recipe, form=form),
        "## How to use\n",
        usage if usage is not None else _usage(form, name or "FOLDER", on_the_hub(base)),
        *(training(run, recipe, ref.stage) if run and recipe else _UNKNOWN),
        *(data(run, recipe, ref.stage) if run and recipe else []),
        *(evaluation(run) if run else []),
        *(_ROUNDED if run and form == "gguf" and standing(run)[0] else []),
        *_template(lock, template),
        "## Licence\n",
        f"{licence(base, recipe)}",
        "Those of the training data, which are not listed here, apply as well.\n",
        *_LIMITS,
    ]
    return "\n".join(parts).rstrip() + "\n"


_UNKNOWN = [
    "## Training\n",
    "The run that trained this model was not at hand when the card was written.\n",
]
_ROUNDED = ["The scores are those of the model before its weights were rounded for this file.\n"]
_LIMITS = [
    "## Limits\n",
    "The model can be wrong, biased or unsafe, and states false things with confidence;",
    "nothing here made it safe. Scores hold for the listed benchmarks and judges only; an LLM",
    "judge prefers long answers and its own style.\n",
]
_ANSWER = """\
messages = [{{"role": "user", "content": "What is the capital of France?"}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=128)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```
"""
_MERGED = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
"""
_ADAPTER = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
base = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{name}")
"""


def _usage(form: Form, name: str, base: str | None) -> str:
    """Python that answers one question with the model."""
    code = _ADAPTER if form == "adapter" else _MERGED
    return (code + _ANSWER).format(name=name, base=base or "BASE")


def public_lock(lock: TemplateLock | None, ref: ModelRef) -> TemplateLock | None:
    """The template lock without folders of this machine."""
    if lock is None:
        return None
    base = base_of(ref, ref.run.recipe() if ref.run is not None else None, lock)
    known = on_the_hub(base) or (base if base in BASE_MODELS else None)
    return replace(
        lock, base=known or "local", template=Path(lock.template).name, run=public(lock.run)
    )


def _origin(
    base: str | None, ref: ModelRef, facts: Facts, recipe: Recipe | None, *, form: Form
) -> Iterator[str]:
    name = on_the_hub(base) or (base if base is not None and base in BASE_MODELS else None)
    what = f"`{name}`" if name is not None else _LOCAL
    if name is not None and recipe is not None and recipe.model.revision:
        what += f" at revision `{plain(recipe.model.revision)}`"
    trained = {"sft": "supervised fine-tuning", "dpo": "supervised fine-tuning, then DPO"}
    how = trained.get(ref.stage or "")
    yield f"Made from {what} by {how}, with zephyrctl.\n" if how else f"Made from {what}.\n"
    done = "as they were trained, " if form == "adapter" else ""
    if form != "adapter" and facts.adapters:
        several = "s" if facts.adapters > 1 else ""
        done = f"{facts.adapters} adapter{several} merged in float32, "
    other = "trained" if form == "adapter" else "unmerged"
    yield (
        f"{facts.parameters:,} parameters in {facts.dtype}; {done}checked after loading: a token's "
        f"log-probability differs from the {other} model's by {facts.difference:.2g} nats on "
        f"average ({facts.tokens} tokens of {facts.checked_on}).\n"
    )


def _template(lock: TemplateLock | None, template: str) -> Iterator[str]:
    yield "## Template\n"
    if lock is not None:
        name = Path(lock.template).name
        yield (
            f"Trained with the chat template `{plain(name)}` (SHA-256 `{lock.template_sha256}`), "
            "which is in `chat_template.jinja`;"
        )
        yield "`tokenizer.apply_chat_template` applies it. Another format makes answers worse.\n"
    else:
        own = "the model's own" if template == "tokenizer" else f"`{plain(Path(template).name)}`"
        yield f"The chat template is {own}, in `chat_template.jinja`.\n"
