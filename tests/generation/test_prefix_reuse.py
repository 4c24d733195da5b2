"""What a conversation has read is not read again, and the answers are those of a fresh reading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
)

from zephyrctl.chat.session import Session
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.generation.decoding import Decoder, Reader
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.rows import Row
from zephyrctl.generation.sampling import Sampling

GREEDY = Sampling(max_new_tokens=12)
ALPHABET = ".,!?;:=+*#%&"
"""What the models below may say: characters that are encoded again as they came."""
CONTEXT = 160
WINDOW = 40

KINDS = {
    "smollm": lambda: LlamaConfig(num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(num_key_value_heads=2),
    "neox": GPTNeoXConfig,
    "mistral, wide": lambda: MistralConfig(num_key_value_heads=2, sliding_window=4096),
    "mistral, narrow": lambda: MistralConfig(num_key_value_heads=2, sliding_window=WINDOW),
    "gemma3": lambda: Gemma3TextConfig(
        num_hidden_layers=2, num_key_value_heads=2, sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "llama4": lambda: Llama4TextConfig(
        num_hidden_layers=2, num_key_value_heads=2, attention_chunk_size=WINDOW,
        num_local_experts=2,
        layer_types=["chunked_attention", "full_attention"], intermediate_size_mlp=128,
        no_rope_layers=[1, 0],
    ),
    "mamba": lambda: MambaConfig(state_size=8),
}  # fmt: skip
NARROW = {"mistral, narrow", "gemma3", "llama4"}
"""Their sliding layers forget, so that nothing can be taken back once the window is full."""


def model_of(kind: str, words: int) -> Any:
    config: Any = KINDS[kind]()
    sizes = {
        "vocab_size": words, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
        "max_position_embeddings": CONTEXT, "initializer_range": 0.4,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    for key, value in sizes.items():
        setattr(config, key, value)
    torch.manual_seed(7)
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.fixture(scope="module", params=KINDS)
def engines(request: pytest.FixtureRequest, tiny_base: Path) -> tuple[str, Engine, Engine]:
    """A kind, an engine that talks, and one over the same weights that keeps nothing."""
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    model = model_of(request.param, len(tokenizer))
    words = tokenizer.get_vocab()
    spoken = {words[character] for character in ALPHABET}
    model.generation_config.suppress_tokens = sorted(set(range(len(tokenizer))) - spoken)
    return (
        request.param,
        Engine(model, tokenizer, path=request.param),
        Engine(model, tokenizer, path=request.param),
    )


class Talk:
    """A conversation whose every reply is compared with that of a fresh reading."""

    def __init__(self, engines: tuple[str, Engine, Engine]) -> None:
        self.kind, self.kept, self.fresh = engines
        self.kept.forget()
        self.session = Session()
        self.left_out = 0
        self.read = 0
        """Tokens whose keys the last turn left behind: all but the last, which nothing followed."""

    def say(self, text: str) -> int:
        self.session.ask(text)
        return self.answer()

    def answer(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Let the model reply; returns the prompt's tokens that were not read again."""
        read = self.session.readable(
            lambda messages: len(self.kept.encode(messages)),
            context=CONTEXT,
            reply_tokens=GREEDY.max_new_tokens,
        )
        self.left_out = read.left_out
        widths: list[int] = []
        hook = self.kept.model.register_forward_pre_hook(
            lambda _, __, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
        )
        stream = self.kept.stream(read.messages, sampling=GREEDY, stop=stop)
        text = "".join(stream)
        hook.remove()
        completion = stream.completion
        alone = self.fresh.answer([read.messages], sampling=GREEDY, batch_size=1)[0]
        assert alone.cached == 0
        assert text == completion.text
        assert alone.text.startswith(text) if stop() else alone.text == text
        assert completion.first_s is not None
        # What it says was kept is what was not read.
        assert completion.prompt_tokens - completion.cached == widths[0]
        self.session.reply(text)
        self.asked = completion.prompt_tokens
        self.read = completion.prompt_tokens + completion.tokens - 1
        return completion.cached

    @property
    def forgets(self) -> bool:
        """Whether nothing that was read can be taken back."""
        return self.kind == "mamba" or (self.kind in NARROW and self.read >= WINDOW)


def test_a_conversation_goes_on_from_what_was_read(engines: tuple[str, Engine, Engine]) -> None:
    talk = Talk(engines)
    assert talk.say("offer tea to mia .") == 0
    for text in ("and soup ?", "more !", "a letter please"):
        before = talk.read
        assert talk.say(text) == (0 if talk.kind == "mamba" else before)
    assert talk.read > WINDOW


def test_a_conversation_that_goes_back_reads_on_from_there(
    engines: tuple[str, Engine, Engine],
) -> None:
    talk = Talk(engines)
    talk.say("a")
    first, gone = talk.asked, talk.forgets
    talk.session.take_back_reply()  # /regen
    assert talk.answer() == (0 if gone else first - 1)
    talk.say("and soup to mia")
    gone = talk.forgets
    talk.session.undo()
    assert talk.session.undo() == "a"
    assert talk.say("a") == (0 if gone else first - 1)
    gone = talk.forgets
    talk.session.undo()
    assert (talk.say("b") > 0) != gone  # the template before the question


def test_another_system_prompt_is_read_anew(engines: tuple[str, Engine, Engine]) -> None:
    talk = Talk(engines)
    talk.session.system = "be kind"
    talk.say("offer tea")
    gone, alike = talk.forgets, len(talk.kept.encode([Message("user", "")]))
    talk.session.system = "be rude"
    cached = talk.say("and soup")
    assert cached == 0 if gone else 0 < cached < alike
    talk.session.clear()  # /new
    assert talk.say("offer tea") < talk.asked


def test_a_conversation_that_fills_the_context_drops_its_oldest_turns(
    engines: tuple[str, Engine, Engine],
) -> None:
    talk = Talk(engines)
    dropped: list[int] = []
    for turn in range(9):
        talk.say(f"offer {turn} tea to mia and soup to ravi")
        dropped.append(talk.left_out)
    assert dropped[0] == 0
    assert dropped[-1] > dropped[-2] > 0


def test_a_reply_that_was_stopped_is_read_on_from(engines: tuple[str, Engine, Engine]) -> None:
    talk = Talk(engines)
    talk.session.ask("offer tea to mia .")
    asked = iter([False, False, False])
    talk.answer(stop=lambda: next(asked, True))
    before = talk.read
    assert talk.say("go on") == (0 if talk.kind == "mamba" else before)


def test_the_trained_tokenizer_of_real_replies_keeps_what_it_can(tiny_base: Path) -> None:
    """Whatever the reply is, at least the prompt before it is not read again."""
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    model = model_of("smollm", len(tokenizer))
    talk = Talk(("smollm", Engine(model, tokenizer, path="m"), Engine(model, tokenizer, path="m")))
    talk.say("offer tea to mia .")
    for text in ("and soup ?", "more !"):
        before = talk.asked
        assert talk.say(text) >= before


def test_padding_that_was_read_beside_others_is_no_prefix() -> None:
    reader = Reader(model_of("llama4", 64), 2, stop_ids=frozenset(), path="llama4")
    decoder = Decoder(reader)
    long, short = Row(0, [5] * 20, 3, GREEDY), Row(1, [7, 8, 9, 10, 11], 8, GREEDY)
    list(decoder.decode([long, short], at_once=2))
    again, fresh = (Row(place, [*short.ids, 30, 31], 8, GREEDY) for place in (2, 3))
    list(decoder.decode([again], at_once=1, reuse=True))
    list(Decoder(reader).decode([fresh], at_once=1))
    assert again.tokens == fresh.tokens
