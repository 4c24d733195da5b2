"""What in a model's answers makes its scores mean less; and what does not."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.doubts import doubts, family_of, judge_doubts
from zephyrctl.evaluation.mt_bench.formats import read_answers, read_questions


@dataclass(frozen=True)
class Asked:
    question_id: int | str
    turns: tuple[str, ...] = ("Why?",)
    category: str = ""


def prose(number: int) -> str:
    """A text of its own for each number."""
    rng = random.Random(number)
    return " ".join("".join(rng.choices("abcdeinorst", k=5)) for _ in range(60))


def said(texts: Sequence[str], *, stopped: bool = True) -> list[str]:
    answers = [Answer(n, 1, text, len(text), stopped) for n, text in enumerate(texts)]
    return doubts(answers, [Asked(n) for n in range(len(texts))], model="m")


ORDINARY = [prose(number) for number in range(40)]


def with_some(text: str, times: int) -> list[str]:
    return [f"{text} {prose(100 + n)}" for n in range(times)] + ORDINARY[times:]


def test_ordinary_answers_raise_no_doubt() -> None:
    assert said(ORDINARY) == []
    assert doubts([], [], model="m") == []


def test_answers_cut_at_the_limit_are_counted() -> None:
    answers = [Answer(n, 1, text, 9, n >= 9) for n, text in enumerate(ORDINARY)]
    (found,) = doubts(answers, [], model="m")
    assert found == "m: 9 of 40 answers were cut at the token limit"
    assert "no answer was ended by the model itself" in said(ORDINARY, stopped=False)[0]
    few = [Answer(n, 1, text, 9, n >= 8) for n, text in enumerate(ORDINARY)]
    assert doubts(few, [], model="m") == []


def test_answers_that_go_round_in_circles_are_counted() -> None:
    loops = [f"{n} so it was and " * 40 for n in range(3)]
    (found,) = [text for text in said(loops + ORDINARY) if "repeat" in text]
    assert found == "m: 3 of 43 answers repeat themselves (repetitive answer 3)"


def test_emoji_that_the_user_asked_for_are_no_damage() -> None:
    answers = [Answer(n, 1, "\U0001f600\U0001f601\U0001f602 " * 20, 9, True) for n in range(3)]
    asked = [Asked(n, ("Answer in emoji.",)) for n in range(3)]
    assert not any("signs" in text for text in doubts(answers, asked, model="m"))
    assert any("signs" in text for text in doubts(answers, [Asked(0)], model="m"))


def test_a_constant_answer_is_found() -> None:
    (found,) = said(["Yes, I agree."] * 40)
    assert found == "m: 40 of 40 answers are the same: 'Yes, I agree.'"


def test_a_constant_answer_behind_a_changing_opening_is_found() -> None:
    texts = [f"Question {n} is a good one. {ORDINARY[0]}" for n in range(40)]
    (found,) = said(texts)
    assert "40 of 40 answers are nearly the same as one to another question" in found


def test_ten_thousand_answers_are_compared_in_seconds() -> None:
    rng = random.Random(0)
    words = prose(0).split() + prose(1).split()
    texts = [" ".join(rng.choices(words, k=30)) for _ in range(10_000)]
    answers = [Answer(n, 1, text, 9, True) for n, text in enumerate(texts)]
    began = time.process_time()
    assert doubts(answers, [], model="m") == []
    assert time.process_time() - began < 6  # every pair on its own: 11 s


def test_a_short_answer_may_be_right_more_than_once() -> None:
    assert said(["Yes."] * 8 + ORDINARY[8:]) == []


def test_the_same_answer_to_one_question_in_each_repeat_is_no_constant_answer() -> None:
    answers = [
        Answer(n, turn, ORDINARY[n], 9, True, sample)
        for n in range(4) for turn in (1, 2) for sample in range(3)
    ]  # fmt: skip
    assert doubts(answers, [Asked(n) for n in range(4)], model="m") == []


@pytest.mark.parametrize(
    "text",
    [
        "Rating: [[10]]", "I choose [[A]].", "[The End of Assistant's Answer]",
        "[The Start of Assistant B's Answer]",
        "<|The End of Assistant A's Conversation with User|>",
        '{"model_identifier": "m"}', '"""}\n', "{'model': 'model_1', 'rank': 1}",
        "## Best Model Identifier",
    ],
)  # fmt: skip
def test_words_of_the_judge_in_an_answer_are_found(text: str) -> None:
    found = said(with_some(text, 1))
    assert any("1 of 40 answers hold what belongs to a judge" in said for said in found)
    assert "(question 0)" in found[0]


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "<|user|>", "[/INST]", "<<SYS>>", "<end_of_turn>", "the end.</s>"]
)
def test_control_tokens_in_an_answer_are_found(text: str) -> None:
    assert any("2 of 40 answers hold control tokens" in said for said in said(with_some(text, 2)))


@pytest.mark.parametrize(
    "text",
    [
        "```python\nm = [[1]]\n\"\"\"Doc.\"\"\"\n}\n```", "See [1] and [A].", "a[[i]] in R",
        "<s>struck</s>", "[Question] 3", "In `x[[1]]` the first.", "Assistant: hello",
        "<div>The end of the assistant's answer</div>",
    ],
)  # fmt: skip
def test_code_and_ordinary_brackets_are_not_words_of_the_judge(text: str) -> None:
    assert said(with_some(text, 3)) == []


ALARMS = {"phi-3": ["repeat themselves", "control tokens"], "mamba_0_75_dpo_ep3": ["are empty"]}


@pytest.mark.parametrize(
    "model",
    ["mamba_0_5_dpo_ep1", "mamba_0_75_dpo_ep3", "mamba_0_875_dpo_ep1", "claude-3-opus-20240229",
     "llama-2-chat-7b", "mistral-orpo", "granite-7b-lab", "ultrachat_baseline", "phi-3-dpo",
     "phi-3"],
)  # fmt: skip
def test_published_answers_raise_doubts_only_where_there_is_cause(
    model: str, mt_bench_dir: Path
) -> None:
    turns = read_answers(mt_bench_dir / "model_answer" / f"{model}.jsonl")
    answers = [
        Answer(question, turn, text, len(text), True)
        for question, texts in turns.items()
        for turn, text in enumerate(texts, start=1)
    ]
    found = doubts(answers, read_questions(mt_bench_dir / "question.jsonl"), model=model)
    expected = ALARMS.get(model, [])
    assert len(found) == len(expected)
    assert all(words in text for words, text in zip(expected, found, strict=True))


def test_800_answers_of_a_strong_model_are_not_alike(alpaca_eval_dir: Path) -> None:
    path = alpaca_eval_dir / "alpaca_eval_gpt4_baseline.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    answers = [Answer(n, 1, row["output"], 1, True) for n, row in enumerate(rows)]
    asked = [Asked(n, (row["instruction"],)) for n, row in enumerate(rows)]
    assert doubts(answers, asked, model="gpt-4") == []


@pytest.mark.parametrize(
    ("name", "family"),
    [("gpt-4o-2024-08-06", "OpenAI"), ("o3-mini", "OpenAI"), ("openai/gpt-4.1", "OpenAI"),
     ("claude-3-opus", "Anthropic"), ("google/gemini-2.5-pro", "Google"),
     ("meta-llama/Llama-3.1-8B", "Meta"), ("mistralai/Mixtral-8x7B", "Mistral"),
     ("Qwen/Qwen3-8B", "Qwen"), ("tiny", None), ("olmo-2", None), ("", None)],
)  # fmt: skip
def test_a_models_family_is_known_by_its_name(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_a_judge_of_the_teachers_family_is_named_with_what_the_teacher_did() -> None:
    source = {"path": "HuggingFaceH4/ultrafeedback_binarized"}
    dialogues = {"path": "HuggingFaceH4/ultrachat_200k"}
    recipe = Recipe.model_validate(
        {"data": {"sft": {"train": [dialogues]}, "dpo": {"train": [source]}}}
    )
    (found,) = judge_doubts("gpt-4o", recipe)
    assert "GPT-4 rated the preferences (ultrafeedback)" in found
    assert "gpt-3.5-turbo wrote the dialogues (ultrachat)" in found
    assert judge_doubts("claude-sonnet-4", recipe) == []
    assert judge_doubts(None, recipe) == []
    assert judge_doubts("gpt-4o", Recipe()) == []
