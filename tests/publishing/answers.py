"""What does a model answer greedily, here and to somebody who has plain transformers only?"""

from pathlib import Path
from typing import Any

from zephyrctl.data.messages import Message, to_json
from zephyrctl.generation.engine import load_engine
from zephyrctl.generation.sampling import Sampling

ASKED = [Message("user", "Offer tea to Mia politely.")]
_TOKENS = 16


def here(source: Path) -> tuple[str, list[int]]:
    """The answer of a model or a chain of adapters in float32, and the ids that it is asked by."""
    engine = load_engine(str(source), dtype="float32", device="cpu")
    sampling = Sampling(max_new_tokens=_TOKENS)
    return engine.answer([ASKED], sampling=sampling, batch_size=1)[0].text, engine.encode(ASKED)


def elsewhere(model: Any, tokenizer: Any) -> tuple[str, list[int]]:
    """The same of a model of transformers and its tokenizer."""
    ids = tokenizer.apply_chat_template(
        to_json(ASKED), add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    out = model.generate(ids, max_new_tokens=_TOKENS, do_sample=False)
    text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return text.strip(), ids[0].tolist()
