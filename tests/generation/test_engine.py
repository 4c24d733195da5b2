"""Decoding in this process: batches, streams, stop tokens, adapters."""

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Qwen2Config,
)

from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import (
    DataError,
    EnvironmentProblem,
    JobFailed,
    TrainingDiverged,
    UsageError,
)
from zephyrctl.generation.choosing import draw
from zephyrctl.generation.engine import Engine, _dtype, _straight_to, load_engine
from zephyrctl.generation.sampling import Completion, Sampling

GREEDY = Sampling(max_new_tokens=24)
SENTENCE = "offer pasta to ravi politely . tell mia about the weather in a short letter please"
WORDS = SENTENCE.split()


def ask(text: str) -> list[Message]:
    return [Message("user", text)]


PROMPTS = [ask(" ".join(WORDS[: 1 + 3 * n])) for n in (4, 0, 3, 1, 2)]


@pytest.fixture(scope="module")
def engine(tiny_base: Path) -> Engine:
    return load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")


def texts(completions: list[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def test_a_batch_gives_the_tokens_of_single_answers_in_input_order(engine: Engine) -> None:
    together = engine.answer(PROMPTS, sampling=GREEDY, batch_size=5)
    alone = [engine.answer([prompt], sampling=GREEDY, batch_size=1)[0] for prompt in PROMPTS]
    assert texts(together) == texts(alone)
    assert [c.tokens for c in together] == [c.tokens for c in alone]
    assert len(set(texts(together))) > 1


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("llama", LlamaConfig(num_key_value_heads=2)),
        ("sliding window", MistralConfig(num_key_value_heads=2, sliding_window=8)),
        ("mixtral", MixtralConfig(num_key_value_heads=2, num_local_experts=2)),
        ("qwen2", Qwen2Config(num_key_value_heads=2)),
        ("neox", GPTNeoXConfig()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_decoding_equals_transformers_own_generate(
    name: str, config: LlamaConfig, tiny_base: Path
) -> None:
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
        "max_position_embeddings": 256, "initializer_range": 0.4,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    for key, value in sizes.items():
        setattr(config, key, value)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    engine = Engine(model, tokenizer, path=name)
    for prompt, answer in zip(
        PROMPTS, engine.answer(PROMPTS, sampling=GREEDY, batch_size=3), strict=True
    ):
        ids = torch.tensor([engine.encode(prompt)])
        out = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
        assert answer.text == str(tokenizer.decode(out, skip_special_tokens=True)).strip()
        assert answer.tokens == len(out)


def test_a_stream_joins_to_the_answer_greedy_and_sampled(engine: Engine) -> None:
    for sampling in (GREEDY, Sampling(temperature=0.9, top_p=0.95, top_k=50, seed=3)):
        for prompt in PROMPTS:
            answer = engine.answer([prompt], sampling=sampling, batch_size=1)[0]
            stream = engine.stream(prompt, sampling=sampling)
            assert "".join(stream) == answer.text
            assert stream.completion.tokens == answer.tokens
            assert stream.completion.stopped == answer.stopped


def test_a_stream_stops_when_asked_and_keeps_what_came(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[0], sampling=GREEDY, stop=lambda: stream.completion.tokens >= 5)
    text = "".join(stream)
    assert stream.completion.tokens == 5
    assert not stream.completion.stopped
    assert stream.completion.text == text
    whole = engine.answer([PROMPTS[0]], sampling=GREEDY, batch_size=1)[0].text
    assert whole.startswith(text)


def test_the_next_turn_reads_only_what_is_new_and_answers_the_same(engine: Engine) -> None:
    first = ask("offer pasta to ravi politely .")
    reply = "".join(engine.stream(first, sampling=GREEDY))
    second = [*first, Message("assistant", reply), *ask("and now soup to mia .")]
    read: list[int] = []
    hook = engine.model.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    continued = "".join(engine.stream(second, sampling=GREEDY))
    hook.remove()
    assert continued == engine.answer([second], sampling=GREEDY, batch_size=1)[0].text
    # At least the first prompt is not read again; of the toy's reply what tokenizes as it came.
    assert read[0] <= len(engine.encode(second)) - len(engine.encode(first))


def test_sampling_depends_on_seed_and_prompt_but_not_on_the_batch(engine: Engine) -> None:
    hot = Sampling(temperature=1.0, max_new_tokens=16, seed=1)
    together = texts(engine.answer(PROMPTS, sampling=hot, batch_size=4))
    backwards = texts(engine.answer(PROMPTS[::-1], sampling=hot, batch_size=2))[::-1]
    other_seed = texts(
        engine.answer(
            PROMPTS, sampling=Sampling(temperature=1.0, max_new_tokens=16, seed=2), batch_size=4
        )
    )
    assert together == backwards
    assert together != other_seed


def test_answers_are_announced_once_each_with_their_index(engine: Engine) -> None:
    seen: dict[int, str] = {}

    def on_done(index: int, completion: Completion) -> None:
        assert index not in seen
        seen[index] = completion.text

    answers = engine.answer(PROMPTS, sampling=GREEDY, batch_size=2, on_done=on_done)
    assert seen == dict(enumerate(texts(answers)))


def head_that_prefers(token: int, *, vocabulary: int) -> torch.nn.Linear:
    head = torch.nn.Linear(128, vocabulary)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[token] = 5.0
    return head


@pytest.mark.parametrize(("token", "stopped", "tokens"), [(1, True, 1), (300, False, 24)])
def test_stopped_tells_an_ended_answer_from_a_cut_one(
    tiny_base: Path, token: int, stopped: bool, tokens: int
) -> None:
    engine = load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")
    engine.model.lm_head = head_that_prefers(token, vocabulary=len(engine.tokenizer))
    answer = engine.answer(PROMPTS[:1], sampling=GREEDY, batch_size=1)[0]
    assert (answer.stopped, answer.tokens) == (stopped, tokens)
    assert "</s>" not in answer.text


def test_the_templates_end_token_stops_although_the_model_does_not_name_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_base, folder)
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<pad>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    assert load_engine(str(folder), dtype="float32").stop_ids == {1, 2}


def test_a_prompt_longer_than_the_context_is_refused(engine: Engine) -> None:
    with pytest.raises(DataError, match="the model reads 1024"):
        engine.answer([ask("pasta " * 2000)], sampling=GREEDY, batch_size=1)


def test_an_answer_ends_where_the_context_does(engine: Engine) -> None:
    base = len(engine.encode(ask("pasta")))
    per_word = len(engine.encode(ask("pasta" + " pasta" * 10))) - base
    prompt = ask("pasta" + " pasta" * (10 * (1020 - base) // per_word))
    room = 1024 - len(engine.encode(prompt))
    answer = engine.answer([prompt], sampling=Sampling(max_new_tokens=500), batch_size=1)[0]
    assert room < 500
    assert answer.tokens == room


def test_a_model_whose_weights_are_not_numbers_is_an_error(tiny_base: Path) -> None:
    engine = load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")
    with torch.no_grad():
        engine.model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match="not a number"):
        engine.answer(PROMPTS, sampling=GREEDY, batch_size=2)


def test_a_freed_model_gives_its_memory_back_once_and_says_so_when_asked(tiny_base: Path) -> None:
    engine = load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")
    weights = weakref.ref(engine.model)
    engine.answer(PROMPTS[:1], sampling=GREEDY, batch_size=1)
    engine.close()
    assert weights() is None
    engine.close()
    engine.forget()
    with pytest.raises(JobFailed, match="not in memory any more") as caught:
        engine.stream(PROMPTS[0], sampling=GREEDY)
    assert caught.value.where == str(tiny_base)
    with pytest.raises(JobFailed, match="not in memory any more"):
        engine.answer(PROMPTS, sampling=GREEDY, batch_size=2)


def test_a_missing_folder_and_an_unknown_device_are_errors(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem):
        load_engine(str(tmp_path), dtype="float32")
    with pytest.raises(UsageError, match="quantum"):
        load_engine(str(tiny_base), dtype="float32", device="quantum", chat_template="zephyr")


@pytest.mark.parametrize(
    ("name", "bf16", "format_", "is_straight"),
    [
        ("cpu", False, torch.float32, False), ("mps", False, torch.float32, True),
        ("cuda", True, torch.bfloat16, True), ("cuda:1", False, torch.float32, True),
    ],
)  # fmt: skip
def test_a_device_decides_the_number_format_and_where_weights_are_read_to(
    name: str, bf16: bool, format_: torch.dtype, is_straight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    device = torch.device(name)
    assert _dtype("auto", device) is format_
    assert _dtype("float16", device) is torch.float16
    assert _straight_to(device) == ({"device_map": {"": device}} if is_straight else {})


def save_adapter(base: Path, folder: Path, *, seed: int, over: torch.nn.Module) -> torch.nn.Module:
    """A LoRA adapter with random weights over the model `over`, saved as an adapter of `base`."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(over, config)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(str(folder))
    return model.merge_and_unload()


def test_a_chain_of_adapters_is_the_sum_of_its_parts(tiny_base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    model = save_adapter(tiny_base, tmp_path / "sft", seed=1, over=model)
    model = save_adapter(tmp_path / "sft", tmp_path / "dpo", seed=2, over=model)
    loaded = load_engine(str(tmp_path / "dpo"), dtype="float32", chat_template="zephyr")
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    expected = Engine(model.eval(), tokenizer, path="merged by hand")
    answers = [texts(e.answer(PROMPTS, sampling=GREEDY, batch_size=5)) for e in (loaded, expected)]
    bare = load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")
    assert answers[0] == answers[1]
    assert answers[0] != texts(bare.answer(PROMPTS, sampling=GREEDY, batch_size=5))


def test_a_forgotten_adapter_beside_full_weights_is_refused(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_base, folder)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tiny_base)})
    )
    with pytest.raises(DataError, match="full model"):
        load_engine(str(folder), dtype="float32")


def test_an_adapter_whose_base_is_gone_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    gone = {"base_model_name_or_path": str(tmp_path / "gone")}
    (folder / "adapter_config.json").write_text(json.dumps(gone))
    with pytest.raises(DataError, match="no longer there"):
        load_engine(str(folder), dtype="float32")


def test_draw_follows_temperature_top_k_and_top_p() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    uniform = [(n + 0.5) / 2000 for n in range(2000)]

    def shares(sampling: Sampling) -> list[float]:
        tokens = draw(logits.expand(2000, 4), uniform, sampling)
        return (torch.bincount(tokens, minlength=4) / 2000).tolist()

    hot = Sampling(temperature=1.0)
    assert shares(hot) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=1e-3)
    assert shares(Sampling(temperature=1.0, top_k=2)) == pytest.approx(
        [5 / 8, 3 / 8, 0, 0], abs=1e-3
    )
    assert shares(Sampling(temperature=1.0, top_p=0.6)) == pytest.approx(
        [5 / 8, 3 / 8, 0, 0], abs=1e-3
    )
    squared = [0.25, 0.09, 0.0225, 0.0025]
    assert shares(Sampling(temperature=0.5)) == pytest.approx(
        [value / sum(squared) for value in squared], abs=1e-3
    )
