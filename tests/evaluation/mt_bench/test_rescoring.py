"""Every number again from stored judgments."""

import json
from pathlib import Path

import pytest
from tests.evaluation.mt_bench.small import answers, open_small, silent
from tests.evaluation.saying import Saying

from zephyrctl.cli.app import main
from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Match
from zephyrctl.evaluation.mt_bench.rescoring import rescore
from zephyrctl.evaluation.mt_bench.stored import (
    files_in,
    given_to_others,
    read_answers_of,
    read_rows,
)


def rating(question: int, turn: int, score: float, **more) -> dict:
    return {"question_id": question, "turn": turn, "model": "m", "judge": ["gpt-4", "single-v1"],
            "score": score, **more}  # fmt: skip


def full(score: float = 7, **more) -> list[dict]:
    return [rating(q, t, score, **more) for q in range(81, 161) for t in (1, 2)]


def cases(folder: Path) -> list[dict]:
    return json.loads((folder / "expected.json").read_text())["single"]


def close(found: dict, expected: dict, names: tuple[str, ...]) -> None:
    for name in names:
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name


MEANS = ("turn_1", "turn_2", "average")


def test_every_published_case_is_reproduced(mt_bench_dir):
    for case in cases(mt_bench_dir):
        path = mt_bench_dir / "model_judgment" / f"{case['model']}.gpt-4_single.jsonl"
        (found,) = rescore(read_rows(path)).to_json()["models"]
        assert found["model"] == case["model_in_file"]
        close(found["fastchat"], case, MEANS)
        close(found["fastchat"]["by_category"], case["by_category"], tuple(case["by_category"]))
        assert found["duplicates_dropped"] == case["n_duplicate_keys"]
        assert found["n"] + found["unparsed"] == case["n_rows"] - case["n_duplicate_keys"]
        if case["model"] == "granite-7b-lab":
            assert found["unparsed"] == case["n_minus1"] == 120
            assert [found[name] for name in MEANS] == [None, None, None]
            assert set(found["by_category"].values()) == {None}
            assert found["interval"] == [None, None]
            continue
        close(found, case.get("last_row_per_key", case), MEANS)
        if not case["n_duplicate_keys"]:
            assert found["unparsed"] == case["n_minus1"]
            close(found["by_category"], case["by_category"], tuple(case["by_category"]))
        low, high = found["interval"]
        assert low < found["average"] < high
        assert 0.3 < high - low < 1.5
        assert found["coverage"] == 1


def test_the_published_pair_is_counted(mt_bench_dir):
    case = json.loads((mt_bench_dir / "expected.json").read_text())["pair"][0]
    found = rescore(read_rows(mt_bench_dir / "model_judgment" / case["file"]))
    (pair,) = found.to_json()["pairs"]
    assert pair == {
        "model_1": case["model_1"], "model_2": "phi-3-dpo", "wins_1": case["model_1_win"],
        "wins_2": case["model_1_loss"], "ties": case["tie"], "errors": case["n_error_rows"],
    }  # fmt: skip
    assert "models" not in found.to_json()
    assert found.thin == ()


def test_votes_on_pairs_are_counted_too(mt_bench_dir):
    found = rescore(read_rows(mt_bench_dir / "human_judgments" / "gpt4_pair_turn1.jsonl"))
    pairs = found.to_json()["pairs"]
    assert len(pairs) == 15
    assert sum(pair["wins_1"] + pair["wins_2"] + pair["ties"] for pair in pairs) == 1200


def test_only_the_first_of_two_appended_runs_judged_other_answers(mt_bench_dir):
    files = files_in(mt_bench_dir)
    assert len(files) == 2
    for case in cases(mt_bench_dir):
        model = case["model"]
        rows = read_rows(mt_bench_dir / "model_judgment" / f"{model}.gpt-4_single.jsonl")
        given = read_answers_of(mt_bench_dir / "model_answer" / f"{model}.jsonl")
        compared, others = given_to_others(rows, given, files)
        assert compared == case["n_rows"]
        assert others == (rows[:160] if model == "mistral-orpo" else [])


def test_pairs_are_held_against_both_models_answers(mt_bench_dir):
    rows = read_rows(mt_bench_dir / "model_judgment" / "phi-3_vs_phi-3-dpo.gpt-4_pair.jsonl")
    given = {}
    for name in ("phi-3", "phi-3-dpo"):
        given |= read_answers_of(mt_bench_dir / "model_answer" / f"{name}.jsonl")
    assert given_to_others(rows, given, files_in(mt_bench_dir)) == (150, [])
    swapped = {("phi-3" if m == "phi-3-dpo" else "phi-3-dpo", q): t for (m, q), t in given.items()}
    assert len(given_to_others(rows, swapped, files_in(mt_bench_dir))[1]) == 75


def test_the_last_row_of_a_question_and_turn_counts():
    found = rescore([*full(2), *full(8)])
    (model,) = found.models
    assert model["average"] == 8
    assert model["duplicates_dropped"] == 160
    assert model["fastchat"]["average"] == 5
    assert any("160 rows have a later one" in text for text in found.notices)


@pytest.mark.parametrize(("lost", "average"), [(8, 7), (9, 7), (32, 7), (33, None)])
def test_under_four_fifths_there_is_no_score(lost, average):
    rows = full(7)
    for row in rows[:lost]:
        row["score"] = -1
    found = rescore(rows)
    assert found.models[0]["average"] == average
    assert found.models[0]["fastchat"]["average"] == 7
    assert (found.thin == ()) is (average is not None)
    assert any("incomplete" in text for text in found.notices) is (8 < lost < 33)


def test_missing_rows_are_not_covered():
    found = rescore(full(7)[:100])
    assert found.models[0]["coverage"] == 100 / 160
    assert found.models[0]["average"] is None


def test_numbers_outside_one_to_ten_count_in_no_mean_of_ours():
    rows = full(7)
    rows[0]["score"], rows[1]["score"] = 0, 99
    found = rescore(rows)
    assert found.models[0]["average"] == 7
    assert found.models[0]["n"] == 160
    assert found.models[0]["fastchat"]["average"] == (158 * 7 + 99) / 160
    assert any("2 ratings are outside" in text for text in found.notices)


def test_models_and_judges_of_one_file_stand_apart():
    other = [{**row, "model": "n", "score": 3} for row in full()]
    second = [{**row, "judge": ["claude", "single-v1"], "score": 5} for row in full()]
    found = rescore([*full(7), *other, *second])
    assert [(m["model"], m["average"]) for m in found.models] == [("m", 7), ("n", 3), ("m", 5)]
    assert any("rated by 2 judges" in text for text in found.notices)


def test_a_score_that_its_judgment_does_not_say_is_told():
    rows = full(7)
    rows[3]["judgment"] = "Rating: [[9]]"
    found = rescore(rows)
    assert any("1 scores are not what" in text for text in found.notices)


def test_our_own_judgments_come_to_the_same_numbers(tmp_path):
    def reply(request):
        if "Reply with" in request.user:
            return "[[6]]"
        return "unsure" if request.turn == 2 and request.question_id == 1 else "[[8]]"

    bench = open_small(tmp_path, Saying(reply), **{"mt_bench.mode": "both"})
    given = {"sft": answers("a", "b", "c", "d"), "dpo": answers("e", "f", "g", "h")}
    path = tmp_path / "judgments.jsonl"
    rows = bench.judge(given, Match("sft"), path=path, on_done=silent)
    (model,) = rescore(read_rows(path)).models
    scores = bench.aggregate(rows, Match("sft"))
    assert model["average"] == scores.scores[0].value == (8 + 6 + 8 + 8) / 4
    assert (model["n"], model["unparsed"], model["duplicates_dropped"]) == (4, 0, 0)
    assert model["fastchat"] == scores.details["fastchat"]
    assert model["fastchat"]["average"] == 8


def test_our_own_games_are_counted_as_pairs(tmp_path):
    bench = open_small(tmp_path, Saying(lambda r: "[[A]]"), **{"mt_bench.mode": "pair"})
    given = {"sft": answers("a", "b", "c", "d"), "dpo": answers("e", "f", "g", "h")}
    path = tmp_path / "judgments.jsonl"
    bench.judge(given, Match("dpo", "sft"), path=path, on_done=silent)
    (pair,) = rescore(read_rows(path)).pairs
    assert (pair["model_1"], pair["ties"], pair["errors"]) == ("dpo", 4, 0)


def test_our_own_answers_file_can_be_held_against_the_judgments(tmp_path):
    bench = open_small(tmp_path, Saying(lambda r: "[[5]]"))
    path = tmp_path / "judgments.jsonl"
    bench.judge({"sft": answers("a", "b", "c", "d")}, Match("sft"), path=path, on_done=silent)
    mine = tmp_path / "answers.jsonl"
    texts = {(1, 1): "a", (1, 2): "b", (2, 1): "changed", (2, 2): "d"}
    mine.write_text(
        "".join(
            json.dumps({"question_id": q, "turn": t, "answer": text}) + "\n"
            for (q, t), text in texts.items()
        )
    )
    compared, others = given_to_others(read_rows(path), read_answers_of(mine), files_in(tmp_path))
    assert compared == 4
    assert [(row["question_id"], row["turn"]) for row in others] == [(2, 1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", "one JSON object"),
        ('{"question_id": 81, "turn": 1, "model": "m"}', "a 'score'"),
        ('{"question_id": 81, "turn": "1", "model": "m", "score": 3}', "a 'turn'"),
        ('{"turn": 1, "model": "m", "score": 3}', "a 'question_id'"),
        ('{"question_id": 81, "turn": 1, "score": 3}', "'model_1' and 'model_2'"),
        ('{"question_id": 81, "turn": 1, "model": ["m"], "score": 3}', "a 'model', a text"),
        ('{"question_id": 81, "turn": 1, "model_1": "m", "model_2": 2}', "a 'model_2', a text"),
        ("{", "not a line of JSON"),
    ],
)
def test_a_row_that_is_no_judgment_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "j.jsonl"
    good = json.dumps(rating(81, 1, 7))
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(DataError, match=message) as caught:
        read_rows(path)
    assert caught.value.where == f"{path}:2"


def test_a_line_torn_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps(rating(81, 1, 7)) + '\n{"question_id": 8')
    assert len(read_rows(path)) == 1


def test_an_empty_file_and_an_absent_one_are_errors(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no judgments"):
        read_rows(tmp_path / "empty.jsonl")


def test_the_command_tells_which_answers_were_judged(mt_bench_dir, capsys):
    model = "mistral-orpo"
    with pytest.raises(SystemExit) as ended:
        main([
            "eval", "rescore", "mt-bench", "--data-dir", str(mt_bench_dir), "--json",
            "--judgments", str(mt_bench_dir / "model_judgment" / f"{model}.gpt-4_single.jsonl"),
            "--answers", str(mt_bench_dir / "model_answer" / f"{model}.jsonl"),
        ])  # fmt: skip
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert json.loads(out)["models"][0]["average"] == pytest.approx(6.328125)
    assert "160 of 320 judge prompts" in err
    assert "160 judgments were given to other answers" in err
