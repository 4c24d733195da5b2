"""Recorded judgments judge again: every kind of file, and what is not in it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.layers import load
from zephyrctl.errors import DataError
from zephyrctl.evaluation.alpaca_eval.records import raw_completion
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.judges.replay import ReplayJudge
from zephyrctl.runs.atomic import append_jsonl
from zephyrctl.runs.digests import digest_text


def replay(path: Path, rows: list[dict[str, Any]] | list[Any]) -> ReplayJudge:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ReplayJudge(load(flags={"eval.judge.spec": f"replay:{path}"}).recipe)


def replies(judge: ReplayJudge, *requests: JudgeRequest) -> list[JudgeReply]:
    found: dict[int, JudgeReply] = {}
    judge.decide(requests, on_reply=found.__setitem__)
    return [found[index] for index in range(len(requests))]


def single(user: str = "Q", **other: Any) -> JudgeRequest:
    return JudgeRequest(81, 1, "single-v1", "", user, models=("x",), **other)


def game(order: int, user: str = "Q", models: tuple[str, str] = ("x", "y")) -> JudgeRequest:
    return JudgeRequest(81, 1, "pair-v2", "", user, models=models, order=order)


def rating(judgment: str, **other: Any) -> dict[str, Any]:
    row = {"question_id": 81, "turn": 1, "model": "x", "judge": ["gpt-4", "single-v1"]}
    return {**row, "judgment": judgment, **other}


@pytest.mark.parametrize(
    "place", [{"user_prompt": "Q"}, {"user_prompt_sha256": digest_text("Q")}, {}]
)
def test_a_rating_is_found_by_its_prompt_its_hash_or_its_place(tmp_path: Path, place):
    judge = replay(tmp_path / "single.jsonl", [rating("[[7]]", **place)])
    assert judge.name == "gpt-4 (recorded)"
    assert [reply.text for reply in replies(judge, single())] == ["[[7]]"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_text_may_hold_what_python_calls_the_end_of_a_line(tmp_path: Path, separator: str):
    # Our own files keep UTF-8 readable, so such a character stands in them as it is.
    row = rating(f"Good.{separator}Rating: [[7]]", user_prompt="Q")
    path = tmp_path / "judgments.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    judge = ReplayJudge(load(flags={"eval.judge.spec": f"replay:{path}"}).recipe)
    assert replies(judge, single())[0].text == row["judgment"]


def test_the_last_of_several_counts_and_is_told(tmp_path: Path):
    judge = replay(tmp_path / "single.jsonl", [rating("[[3]]"), rating("[[8]]")])
    assert replies(judge, single())[0].text == "[[8]]"
    assert judge.notices == [
        "single.jsonl: 1 judgments are replaced by later ones on the same answers"
    ]


def test_an_unknown_request_is_an_error(tmp_path: Path):
    judge = replay(tmp_path / "single.jsonl", [rating("[[3]]", user_prompt="Q")])
    with pytest.raises(DataError, match="no recorded judgment for question 81, turn 1"):
        replies(judge, single("another answer"))


def test_repeats_are_replayed_one_by_one(tmp_path: Path):
    rows = [rating(f"[[{7 + n}]]", user_prompt="Q", sample=n) for n in range(2)]
    judge = replay(tmp_path / "own.jsonl", rows)
    assert not judge.is_deterministic
    found = replies(judge, single(), single(sample=1), single(sample=5))
    assert [reply.text for reply in found] == ["[[7]]", "[[8]]", "[[7]]"]


def pair_row(**fields: Any) -> dict[str, Any]:
    row = {"question_id": 81, "turn": 1, "model_1": "x", "model_2": "y", "judge": ["gpt-4", "p"]}
    return {**row, **fields}


@pytest.mark.parametrize("with_prompts", [True, False])
def test_a_pairs_two_games_are_found_in_their_orders(tmp_path: Path, with_prompts: bool):
    row = pair_row(
        g1_winner="model_1", g2_winner="model_2", g1_judgment="[[A]]!", g2_judgment="[[A]]?"
    )
    if with_prompts:
        row |= {"g1_user_prompt": "xy", "g2_user_prompt_sha256": digest_text("yx")}
    judge = replay(tmp_path / "pair.jsonl", [row])
    found = replies(judge, game(1, "xy"), game(2, "yx"))
    assert [reply.text for reply in found] == ["[[A]]!", "[[A]]?"]
    if not with_prompts:  # the same two games, with the models named the other way round
        turned = ("y", "x")
        found = replies(judge, game(1, "yx", turned), game(2, "xy", turned))
        assert [reply.text for reply in found] == ["[[A]]?", "[[A]]!"]


def test_winners_stand_for_judgments_that_were_dropped(tmp_path: Path):
    rows = [pair_row(g1_winner="model_2", g2_winner="tie")]
    found = replies(replay(tmp_path / "pair.jsonl", rows), game(1), game(2))
    assert [reply.text for reply in found] == ["[[B]]", "[[C]]"]


def test_rows_of_one_game_keep_their_probabilities(tmp_path: Path):
    chances = {"A": 0.75, "B": 0.25, "C": 0.0}
    rows = [
        pair_row(g1_winner="model_1", g1_judgment="A", g1_probabilities=chances),
        pair_row(g2_winner="model_1", g2_judgment="B"),
    ]
    first, second = replies(replay(tmp_path / "own.jsonl", rows), game(1), game(2))
    assert first.logprobs == pytest.approx(
        {"A": -0.2876820724, "B": -1.3862943611, "C": float("-inf")}
    )
    assert second == JudgeReply("B")


def test_an_outcome_over_both_orders_stands_for_two_games(tmp_path: Path):
    rows = [
        {"question_id": 81, "turn": 1, "model_a": "x", "model_b": "y", "winner": winner,
         "judge": "gpt4_pair"}
        for winner in ("model_b",)
    ]  # fmt: skip
    judge = replay(tmp_path / "votes.jsonl", rows)
    first, second = replies(judge, game(1), game(2))
    assert (first.text, second.text) == ("[[B]]", "[[A]]")
    assert not judge.knows_orders
    assert any("not what each order said" in text for text in judge.notices)


def test_a_file_without_judgments_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="holds no judgment") as caught:
        replay(tmp_path / "answers.jsonl", [{"question_id": 81, "choices": []}])
    assert caught.value.where == f"{tmp_path / 'answers.jsonl'}:1"
    with pytest.raises(DataError, match="no judgment in the file"):
        replay(tmp_path / "empty.jsonl", [])


def test_stored_ratings_answer_the_prompts_they_were_given(mt_bench_dir: Path):
    path = mt_bench_dir / "model_judgment" / "mamba_0_5_dpo_ep1.gpt-4_single.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    judge = ReplayJudge(load(flags={"eval.judge.spec": f"replay:{path}"}).recipe)
    requests = [
        JudgeRequest(row["question_id"], row["turn"], "", "", row["user_prompt"]) for row in rows
    ]
    assert [reply.text for reply in replies(judge, *requests)] == [row["judgment"] for row in rows]


def test_alpaca_evals_annotations_answer_by_instruction_and_order(alpaca_eval_dir: Path):
    from zephyrctl.evaluation.alpaca_eval import protocol
    from zephyrctl.evaluation.alpaca_eval.formats import PROMPT_FILES, read_prompt

    path = alpaca_eval_dir / "format_samples" / "annotations_v2_first20.json"
    rows = json.loads(path.read_text())
    judge = ReplayJudge(load(flags={"eval.judge.spec": f"replay:{path}"}).recipe)
    prompt = read_prompt(alpaca_eval_dir / PROMPT_FILES[2])

    def asked(place: int, order: int) -> JudgeRequest:
        row = rows[place]
        pair = protocol.Pair(row["instruction"], row["output_1"], row["output_2"])
        return protocol.request(
            prompt, pair, question_id=place, version=2, order=order, fence=False
        )

    orders = [2 if protocol.is_switched(row["instruction"]) else 1 for row in rows]
    found = replies(judge, *(asked(place, order) for place, order in enumerate(orders)))
    for row, order, reply in zip(rows, orders, found, strict=True):
        shown = protocol.shown_by_logprobs(reply.logprobs or {})
        assert protocol.preference(shown, order=order) == pytest.approx(row["preference"], abs=1e-9)
    with pytest.raises(DataError, match="no recorded judgment"):
        replies(judge, asked(0, 3 - orders[0]))


def test_a_token_of_no_probability_is_read_back_as_such(tmp_path: Path):
    # JSON has no infinity: our files hold null for it.
    reply = JudgeReply("m", {"m": 0.0, "M": -math.inf})
    texts = {"instruction": "Q", "output_1": "a", "output_2": "b", "annotator": "x"}
    asked = {"user_prompt_sha256": digest_text("Q"), "raw_completion": raw_completion(reply)}
    path = tmp_path / "judgments.jsonl"
    append_jsonl(path, {**texts, **asked})
    judge = ReplayJudge(load(flags={"eval.judge.spec": f"replay:{path}"}).recipe)
    assert replies(judge, single())[0].logprobs == reply.logprobs
