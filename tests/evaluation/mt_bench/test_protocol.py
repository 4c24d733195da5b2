"""MT-Bench's protocol against judgments and figures that others published."""

import hashlib
import json
from pathlib import Path

import pytest

from zephyrctl.errors import DataError
from zephyrctl.evaluation.mt_bench import protocol as mt_bench
from zephyrctl.evaluation.mt_bench.formats import read_answers, read_judgments, read_mt_bench
from zephyrctl.evaluation.verdicts import in_range, parse_rating, parse_winner, read_rating


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [[7.5]]", 7.5),
        ("[[3]] and later [[9]]", 3),
        ("Rating: [8]", 8),
        ("[2] first, but [[6]] wins", 6),
        ("Rating: 8", None),
        ("[[A]]", None),
        ("[[-1]]", None),
        ("", None),
        ("[[99]]", 99),
    ],
)
def test_a_rating_is_the_first_double_bracket_else_the_first_single_one(text, rating):
    assert parse_rating(text) == rating


@pytest.mark.parametrize(
    ("text", "winner"),
    [("[[A]]", "A"), ("[[B]] is better", "B"), ("[[C]]", "tie"), ("A", None), ("[[C]] [[A]]", "A")],
)
def test_the_winner_is_looked_for_in_upstreams_order(text, winner):
    assert parse_winner(text) == winner


def test_ratings_outside_one_to_ten_do_not_count():
    assert read_rating("[[99]]") is None
    assert read_rating("array[0] is [[4]]") == 4
    assert read_rating("print(array[0])") is None
    assert in_range(1)
    assert in_range(10)
    assert not in_range(0)
    assert not in_range(99)
    assert not in_range(None)


def test_a_pair_is_won_only_in_both_orders():
    assert mt_bench.pair_winner(1, "[[A]]") == "model_1"
    assert mt_bench.pair_winner(2, "[[A]]") == "model_2"
    assert mt_bench.pair_winner(2, "[[B]]") == "model_1"
    assert mt_bench.pair_outcome("model_1", "model_1") == "model_1"
    assert mt_bench.pair_outcome("model_1", "model_2") == "tie"
    assert mt_bench.pair_outcome("tie", "model_2") == "tie"
    assert mt_bench.pair_outcome("error", "model_2") == "error"


def _categories(files):
    return {question.question_id: question.category for question in files.questions}


def _expected(folder: Path) -> list[dict]:
    return json.loads((folder / "expected.json").read_text())["single"]


def test_published_means_are_reproduced(mt_bench_dir):
    categories = _categories(read_mt_bench(str(mt_bench_dir), references="original"))
    seen = 0
    for case in _expected(mt_bench_dir):
        path = mt_bench_dir / "model_judgment" / f"{case['model']}.gpt-4_single.jsonl"
        if not path.exists() or case.get("turn_1") is None:
            continue
        scores = mt_bench.upstream_scores(read_judgments(path), categories)
        for key in ("turn_1", "turn_2", "average"):
            assert scores[key] == pytest.approx(case[key], abs=1e-6), (case["model"], key)
        for category, value in case["by_category"].items():
            assert scores["by_category"][category] == pytest.approx(value, abs=1e-6)
        seen += 1
    assert seen >= 6


def test_stored_scores_are_what_the_judgments_say(mt_bench_dir):
    paths = sorted((mt_bench_dir / "model_judgment").glob("*_single.jsonl"))
    assert paths
    for path in paths:
        for row in read_judgments(path):
            rating = parse_rating(row["judgment"])
            assert (-1 if rating is None else rating) == row["score"]


def test_judge_prompts_are_rebuilt_byte_for_byte(mt_bench_dir):
    files = read_mt_bench(str(mt_bench_dir), references="original")
    questions = {question.question_id: question for question in files.questions}
    compared, others = 0, []
    for case in _expected(mt_bench_dir):
        model = case["model"]
        answers = read_answers(mt_bench_dir / "model_answer" / f"{model}.jsonl")
        rows = read_judgments(mt_bench_dir / "model_judgment" / f"{model}.gpt-4_single.jsonl")
        for place, row in enumerate(rows):
            request = mt_bench.single_request(
                files, questions[row["question_id"]], answers[row["question_id"]], turn=row["turn"]
            )
            digest = hashlib.sha256(request.user.encode()).hexdigest()
            if "user_prompt" in row:
                wanted = hashlib.sha256(row["user_prompt"].encode()).hexdigest()
            else:
                wanted = row["user_prompt_sha256"]
            if digest != wanted:
                others.append((model, place))
            assert row["judge"][1] == request.prompt_name
            compared += 1
    assert compared == 1440
    # The first of the two runs appended to that file judged an older set of answers.
    assert {model for model, _ in others} <= {"mistral-orpo"}
    assert len(others) <= 160


def test_pairwise_prompts_and_counts_are_rebuilt(mt_bench_dir):
    files = read_mt_bench(str(mt_bench_dir), references="original")
    questions = {question.question_id: question for question in files.questions}
    first = read_answers(mt_bench_dir / "model_answer" / "phi-3.jsonl")
    second = read_answers(mt_bench_dir / "model_answer" / "phi-3-dpo.jsonl")
    rows = read_judgments(mt_bench_dir / "model_judgment" / "phi-3_vs_phi-3-dpo.gpt-4_pair.jsonl")
    outcomes = {"model_1": 0, "model_2": 0, "tie": 0, "error": 0}
    for row in rows:
        answers = (first[row["question_id"]], second[row["question_id"]])
        for order in (1, 2):
            request = mt_bench.pair_request(
                files, questions[row["question_id"]], answers, turn=row["turn"], order=order
            )
            assert request.user == row[f"g{order}_user_prompt"]
            assert (
                mt_bench.pair_winner(order, row[f"g{order}_judgment"]) == (row[f"g{order}_winner"])
            )
        outcomes[mt_bench.pair_outcome(row["g1_winner"], row["g2_winner"])] += 1
    assert outcomes == {"model_1": 18, "model_2": 20, "tie": 35, "error": 2}


def test_a_broken_line_is_named_with_its_place(tmp_path):
    (tmp_path / "reference_answer").mkdir()
    (tmp_path / "question.jsonl").write_text('{"question_id": 1, "turns": ["a"]}\n{"turns": 3}\n')
    (tmp_path / "judge_prompts.jsonl").write_text("")
    (tmp_path / "reference_answer" / "gpt-4.jsonl").write_text("")
    with pytest.raises(DataError) as caught:
        read_mt_bench(str(tmp_path), references="original")
    assert caught.value.where is not None
    assert caught.value.where.endswith("question.jsonl:2")


def test_an_answer_may_hold_what_python_calls_the_end_of_a_line(tmp_path: Path):
    row = {"question_id": 81, "choices": [{"turns": ["one\u2028two", "three\x85"]}]}
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_answers(path) == {81: ("one\u2028two", "three\x85")}
