"""The benchmark `mt-bench`: answers in, judgments kept, scores out."""

import json
from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.benchmark import Answer, LeftOut, Match
from zephyrctl.evaluation.mt_bench.benchmark import MtBench, benchmark
from zephyrctl.evaluation.mt_bench.formats import read_answers


def _recipe(data_dir: Path, judge: str | None, **settings) -> Recipe:
    return Recipe.model_validate(
        {
            "eval": {
                "data_dir": str(data_dir),
                "judge": {"spec": judge},
                "mt_bench": {"references": "original", **settings},
                "bootstrap": 200,
            }
        }
    )


def _small_files(folder: Path) -> Path:
    (folder / "reference_answer").mkdir()
    questions = [
        {"question_id": 1, "category": "writing", "turns": ["Say hi.", "Again."]},
        {"question_id": 2, "category": "math", "turns": ["1+1?", "Twice that?"]},
    ]
    prompts = [
        {"name": "single-v1", "system_prompt": "s", "prompt_template": "{question}|{answer}"},
        {
            "name": "single-v1-multi-turn",
            "system_prompt": "s",
            "prompt_template": "{question_2}|{answer_2}",
        },
        {
            "name": "single-math-v1",
            "system_prompt": "s",
            "prompt_template": "{ref_answer_1}|{answer}",
        },
        {
            "name": "single-math-v1-multi-turn",
            "system_prompt": "s",
            "prompt_template": "{ref_answer_2}|{answer_2}",
        },
    ]
    references = [{"question_id": 2, "choices": [{"index": 0, "turns": ["2", "4"]}]}]
    for name, rows in [
        ("question.jsonl", questions),
        ("judge_prompts.jsonl", prompts),
        ("reference_answer/gpt-4.jsonl", references),
    ]:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def _replay(folder: Path, ratings: dict[tuple[int, int], str]) -> str:
    path = folder / "recorded.jsonl"
    rows = [
        {"question_id": q, "turn": t, "model": "sft", "judge": ["gpt-4", "x"], "judgment": text}
        for (q, t), text in ratings.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"replay:{path}"


SFT = Match("sft")
ANSWERS = [
    Answer(1, 1, "hi {there}", 3, True),
    Answer(1, 2, "hi", 2, True),
    Answer(2, 1, "2", 2, True),
    Answer(2, 2, "4", 2, False),
]
RATINGS = {(1, 1): "[[8]]", (1, 2): "[[6]]", (2, 1): "[[10]]", (2, 2): "none"}


def _open(tmp_path: Path, ratings=RATINGS, **settings) -> MtBench:
    folder = _small_files(tmp_path)
    found = benchmark(_recipe(folder, _replay(tmp_path, ratings), **settings))
    assert isinstance(found, MtBench)
    return found


def test_without_a_judge_the_benchmark_is_left_out(tmp_path):
    assert isinstance(benchmark(_recipe(tmp_path, None)), LeftOut)


@pytest.mark.parametrize("spec", ["gpt-4", "opnai:gpt-4", "openai:"])
def test_a_judge_that_is_none_is_a_usage_error(tmp_path, spec):
    with pytest.raises(UsageError):
        benchmark(_recipe(_small_files(tmp_path), spec))


def test_the_conversation_carries_the_models_own_first_answer(tmp_path):
    bench = _open(tmp_path)
    messages = bench.conversation(bench.questions[0], ["hi"])
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].content == "hi"
    assert bench.sampling(bench.questions[0], sample=0).temperature == 0.7
    assert bench.sampling(bench.questions[1], sample=0).is_greedy


def test_judgments_are_asked_once_and_unparsed_ones_leave_no_thin_score(tmp_path):
    bench = _open(tmp_path)
    path = tmp_path / "judgments.jsonl"
    steps = []
    rows = bench.judge({"sft": ANSWERS}, SFT, path=path, on_done=lambda *step: steps.append(step))
    assert [row["score"] for row in rows] == [8, 6, 10, -1]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    written = path.read_bytes()
    again = bench.judge({"sft": ANSWERS}, SFT, path=path, on_done=lambda *step: None)
    assert again == rows
    assert path.read_bytes() == written
    scores = bench.aggregate(rows, SFT)
    assert scores.gate is None  # 3 of 4 is under the floor of 80 %
    assert scores.details["fastchat"]["average"] == 8
    assert scores.details["unparsed"] == 1


def test_a_changed_answer_is_judged_again(tmp_path):
    bench = _open(tmp_path)
    path = tmp_path / "judgments.jsonl"
    bench.judge({"sft": ANSWERS}, SFT, path=path, on_done=lambda *step: None)
    changed = [Answer(1, 1, "hello", 1, True), *ANSWERS[1:]]
    bench.judge({"sft": changed}, SFT, path=path, on_done=lambda *step: None)
    assert len(path.read_text().splitlines()) == 5


def test_scores_name_the_judge_and_compare_by_question(tmp_path):
    bench = _open(tmp_path, {**RATINGS, (2, 2): "Rating: [[4]]"})
    rows = bench.judge({"sft": ANSWERS}, SFT, path=tmp_path / "j.jsonl", on_done=lambda *s: None)
    scores = bench.aggregate(rows, SFT)
    assert {score.judge for score in scores.scores} == {"gpt-4 (recorded)"}
    assert [(s.metric, s.value) for s in scores.scores] == [
        ("average", 7.0),
        ("turn_1", 9.0),
        ("turn_2", 5.0),
    ]
    assert scores.by_question == {1: 7.0, 2: 7.0}
    assert any("2 of 80" in notice for notice in scores.notices)


def test_an_answer_that_was_never_recorded_is_named(tmp_path):
    bench = _open(tmp_path, {(1, 1): "[[8]]"})
    with pytest.raises(DataError, match="question 1, turn 2"):
        bench.judge({"sft": ANSWERS}, SFT, path=tmp_path / "j.jsonl", on_done=lambda *step: None)
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 1


def test_a_recorded_judge_reproduces_a_published_average(mt_bench_dir, tmp_path):
    model = "mamba_0_5_dpo_ep1"
    recorded = mt_bench_dir / "model_judgment" / f"{model}.gpt-4_single.jsonl"
    bench = benchmark(_recipe(mt_bench_dir, f"replay:{recorded}"))
    assert isinstance(bench, MtBench)
    answers = read_answers(mt_bench_dir / "model_answer" / f"{model}.jsonl")
    given = [
        Answer(question.question_id, turn, answers[question.question_id][turn - 1], 0, True)
        for question in bench.questions
        for turn in (1, 2)
    ]
    rows = bench.judge(
        {model: given}, Match(model), path=tmp_path / "j.jsonl", on_done=lambda *step: None
    )
    scores = bench.aggregate(rows, Match(model))
    average = scores.scores[0]
    assert average.value == pytest.approx(7.121875)  # published: 7.12
    assert average.low < 7.12 < average.high
    assert 0.5 < average.high - average.low < 1.5  # a 7B model's 160 ratings: ±0.5 to ±0.7
