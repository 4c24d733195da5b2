"""A bill against what judging then really comes to, at a server that counts tokens."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.benchmark import Answer, Match
from zephyrctl.evaluation.bill import Bill, bill_of
from zephyrctl.evaluation.mt_bench.benchmark import MtBench, benchmark
from zephyrctl.evaluation.mt_bench.formats import read_answers
from zephyrctl.evaluation.rules import Rules
from zephyrctl.evaluation.scores import Places
from zephyrctl.evaluation.spending import Meter, metered
from zephyrctl.runs.store import Run

QUESTIONS = 6
PIECES = re.compile(r"\w{1,7}|[^\w\s]")
"""A rough tokenizer that knows nothing of ours."""


def pieces(messages: list[dict[str, str]], text: str) -> tuple[int, int]:
    prompt = sum(len(PIECES.findall(message["content"])) for message in messages)
    return prompt + 4 * len(messages), len(PIECES.findall(text))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "mt_bench"
    (folder / "reference_answer").mkdir(parents=True)
    prompts = ["single-v1", "single-v1-multi-turn", "pair-v2", "pair-v2-multi-turn"]
    fields = ["{answer}", "{answer_2}", "{answer_a} {answer_b}", "{answer_a_2} {answer_b_2}"]
    rows: dict[str, list[dict[str, Any]]] = {
        "question.jsonl": [
            {"question_id": place, "category": "writing", "turns": [f"Say {place}.", "Again."]}
            for place in range(1, QUESTIONS + 1)
        ],
        "judge_prompts.jsonl": [
            {"name": name, "system_prompt": "Judge this.", "prompt_template": template}
            for name, template in zip(prompts, fields, strict=True)
        ],
        "reference_answer/gpt-4-0125-preview.jsonl": [],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "mine")


def recipe_of(files: Path, spec: str, **of_eval: Any) -> Recipe:
    settings = {"models": ["sft", "dpo"], "data_dir": str(files), "bootstrap": 100, **of_eval}
    prices = {"prompt_price": 1.0, "completion_price": 10.0}
    asked = {"spec": spec, "concurrency": 8, **prices, **settings.pop("judge", {})}
    return Recipe.model_validate({"output_root": "runs", "eval": {**settings, "judge": asked}})


def made(recipe: Recipe) -> MtBench:
    found = benchmark(recipe)
    assert isinstance(found, MtBench)
    return found


def billed(recipe: Recipe, run: Run, *, anew: tuple[str, ...] = (), fresh: bool = False) -> Bill:
    found = bill_of(made(recipe), recipe, run, anew=anew, fresh=fresh)
    assert found is not None
    return found


def write_answers(run: Run, recipe: Recipe, model: str, text: Callable[[int, int, int], str]):
    """Answers as the stage keeps them; greedy ones stand for all repeats."""
    subject = made(recipe)
    path = Places.of(run, subject).answers(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    with path.open("w") as stream:
        for sample in range(subject.repeats):
            for question in subject.questions:
                for turn in (1, 2):
                    said = text(int(question.question_id), turn, sample)
                    answer = Answer(question.question_id, turn, said, 9, True, sample)
                    answers.append(answer)
                    row = {"answer": said, **{k: v for k, v in vars(answer).items() if k != "text"}}
                    stream.write(json.dumps({**row, "identity": "now", "key": "-"}) + "\n")
    return answers


def judge_all(run: Run, recipe: Recipe, answers: dict[str, list[Answer]]) -> Meter:
    """Judge as the stage does."""
    with metered(recipe) as meter:
        subject = made(recipe)
        for match in subject.matches(list(answers), baseline=None):
            path = Places.of(run, subject).judgments(match)
            subject.judge(answers, match, path=path, on_done=lambda done, total: None)
    return meter


def test_a_bill_of_standing_answers_is_what_judging_comes_to(run: Run, mt_bench_dir: Path):
    """160 public answers of a 7B model, and GPT-4's own judgments as replies."""
    name = "mamba_0_5_dpo_ep1"
    judgments = mt_bench_dir / "model_judgment" / f"{name}.gpt-4_single.jsonl"
    said = {
        row["user_prompt"]: row["judgment"]
        for row in map(json.loads, judgments.read_text(encoding="utf-8").splitlines())
    }
    texts = read_answers(mt_bench_dir / "model_answer" / f"{name}.jsonl")

    def reply(messages: list[dict[str, str]]) -> str:
        return said[messages[-1]["content"]]

    with FakeEndpoint(answer=reply, usage=pieces) as server:
        settings = {"references": "original"}
        recipe = recipe_of(mt_bench_dir, server.spec, models=["dpo"], mt_bench=settings)
        answers = write_answers(run, recipe, "dpo", lambda q, turn, _: texts[q][turn - 1])
        bill = billed(recipe, run)
        meter = judge_all(run, recipe, {"dpo": answers})
        assert len(server.requests) == bill.missing == bill.wanted == meter.calls == 160
        after = billed(recipe, run)
    spent = meter.spent_usd
    assert spent is not None
    assert (bill.usd_low or 0) < spent < (bill.usd_most or 0)
    assert bill.prompt_tokens == pytest.approx(meter.prompt_tokens, rel=0.15)
    assert bill.completion_tokens == pytest.approx(meter.completion_tokens, rel=0.2)
    assert bill.usd == pytest.approx(spent, rel=0.2)
    assert bill.stand_ins == ()
    assert (after.found, after.missing, after.usd) == (160, 0, 0)


def test_what_stands_tells_how_long_the_next_judgments_are(run: Run, files: Path):
    words = " ".join(["word"] * 600)
    with FakeEndpoint(answer=lambda _: f"[[7]] {words}", usage=pieces) as server:
        recipe = recipe_of(files, server.spec)
        answers = write_answers(run, recipe, "sft", lambda q, turn, _: f"answer {q} {turn}")
        before = billed(recipe, run)
        judge_all(run, recipe, {"sft": answers})
        after = billed(recipe, run)
    assert before.completion_tokens == 4 * QUESTIONS * 170
    assert (after.wanted, after.found) == (4 * QUESTIONS, 2 * QUESTIONS)
    assert after.completion_tokens == pytest.approx(2 * QUESTIONS * 605, rel=0.02)
    assert after.stand_ins == ("dpo",)


def test_answers_still_to_be_written_are_taken_at_a_stated_length(run: Run, files: Path):
    recipe = recipe_of(files, "local:tiny")
    bill = billed(recipe, run)
    assert bill.stand_ins == ("sft", "dpo")
    assert bill.stand_in_characters == 1400
    assert (bill.wanted, bill.found) == (4 * QUESTIONS, 0)
    assert bill.prompt_tokens == pytest.approx(4 * QUESTIONS * 1400 / 5, rel=0.25)
    short = recipe_of(files, "local:tiny", mt_bench={"max_new_tokens": 16})
    assert billed(short, run).stand_in_characters == 70
    assert billed(short, run).prompt_tokens_most < bill.prompt_tokens_most


def test_a_pair_is_billed_in_both_orders_and_repeats_are_counted(run: Run, files: Path):
    recipe = recipe_of(files, "openai+http://127.0.0.1:9/v1:j", mt_bench={"mode": "both"})
    assert billed(recipe, run).wanted == (2 + 2) * 2 * QUESTIONS
    more = recipe_of(files, "openai+http://127.0.0.1:9/v1:j", repeats=3)
    assert billed(more, run).wanted == 3 * 4 * QUESTIONS


@pytest.mark.parametrize("fence", [False, True])
def test_judgments_that_stand_are_found_in_every_repeat(run: Run, files: Path, fence: bool):
    with FakeEndpoint(answer=lambda _: "[[7]] [[A]]") as server:
        recipe = recipe_of(
            files, server.spec, repeats=2, mt_bench={"mode": "both"}, judge={"fence": fence}
        )
        answers = {
            model: write_answers(run, recipe, model, lambda q, t, s, m=model: f"{m} {q} {t} {s}")
            for model in ("sft", "dpo")
        }
        meter = judge_all(run, recipe, answers)
    bill = billed(recipe, run)
    assert bill.wanted == bill.found == meter.calls == 2 * 8 * QUESTIONS


def test_a_model_that_is_trained_anew_is_billed_anew(run: Run, files: Path):
    with FakeEndpoint(answer=lambda _: "[[7]]") as server:
        recipe = recipe_of(files, server.spec)
        answers = {
            model: write_answers(run, recipe, model, lambda q, t, s, m=model: f"{m} {q} {t}")
            for model in ("sft", "dpo")
        }
        judge_all(run, recipe, answers)
    assert billed(recipe, run).missing == 0
    anew = billed(recipe, run, anew=("dpo",))
    assert (anew.found, anew.missing, anew.stand_ins) == (2 * QUESTIONS, 2 * QUESTIONS, ("dpo",))
    assert anew.stand_in_characters < 20  # as long as what it wrote before
    assert billed(recipe, run, fresh=True).found == 0


def test_an_unknown_price_leaves_the_tokens(run: Run, files: Path):
    recipe = recipe_of(files, "openai+https://judge.example/v1:big")
    unpriced = recipe.eval.judge.model_copy(update={"prompt_price": None, "completion_price": None})
    recipe = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"judge": unpriced})})
    bill = billed(recipe, run)
    assert (bill.usd_low, bill.usd, bill.usd_most) == (None, None, None)
    assert bill.prompt_tokens > 0
    assert json.loads(json.dumps(bill.to_json()))["price"] is None
    assert replace(bill, price=None).missing == 4 * QUESTIONS


def test_code_needs_no_bill(run: Run, files: Path):
    recipe = recipe_of(files, "local:tiny")
    assert bill_of(Rules([], max_new_tokens=8), recipe, run, anew=()) is None


def test_equal_answers_of_a_pair_are_asked_once_for_both_orders(run: Run, files: Path):
    """The prompt is the same in both orders; one reply, two judgments."""
    with FakeEndpoint(answer=lambda _: "[[A]]") as server:
        recipe = recipe_of(files, server.spec, mt_bench={"mode": "pair"})
        answers = {
            model: write_answers(run, recipe, model, lambda q, turn, _: f"same {q} {turn}")
            for model in ("sft", "dpo")
        }
        bill = billed(recipe, run)
        meter = judge_all(run, recipe, answers)
        subject = made(recipe)
        path = Places.of(run, subject).judgments(Match("dpo", "sft"))
    assert bill.wanted == meter.calls == 2 * QUESTIONS
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 4 * QUESTIONS
    assert {row["place"][4] for row in rows} == {1, 2}
