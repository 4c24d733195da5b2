"""The benchmark `alpaca-eval`: answers in, judgments kept, scores out."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.evaluation.alpaca_eval.small import write_small

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation.alpaca_eval.benchmark import AlpacaEval, benchmark
from zephyrctl.evaluation.alpaca_eval.formats import read_alpaca_eval
from zephyrctl.evaluation.alpaca_eval.protocol import is_switched
from zephyrctl.evaluation.alpaca_eval.rescore import Inputs, rescore
from zephyrctl.evaluation.benchmark import Answer, LeftOut, Match
from zephyrctl.evaluation.comparison import compare
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply

COUNT = 12
Say = Callable[[JudgeRequest], JudgeReply]


class Panel:
    """A judge that answers by a function, and remembers what it was asked."""

    is_deterministic = True

    def __init__(self, say: Say, *, name: str = "gpt-4-1106-preview") -> None:
        self.name = name
        self.identity = {"judge": name}
        self.asked: list[JudgeRequest] = []
        self._say = say

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        self.asked += requests
        for index, request in enumerate(requests):
            on_reply(index, self._say(request))

    def close(self) -> None:
        pass


def _shown(request: JudgeRequest) -> tuple[str, str]:
    """The two outputs as the prompt of `small.py` shows them."""
    first = request.user.partition("m: <")[2].partition(">\nM: <")
    return first[0], first[2].partition(">\nBest:")[0]


def longer(request: JudgeRequest) -> JudgeReply:
    """Prefers length: p(m) by the difference in characters."""
    first, second = _shown(request)
    chance = 1 / (1 + math.exp((len(second) - len(first)) / 10))
    return JudgeReply("m", {"m": math.log(chance), "M": math.log(1 - chance)})


def the_first(request: JudgeRequest) -> JudgeReply:
    """Prefers whatever is shown first."""
    return JudgeReply("m", {"m": math.log(0.9), "M": math.log(0.1)})


def _recipe(folder: Path, **settings) -> Recipe:
    section = {"bootstrap": 200, "data_dir": str(folder), "judge": {"spec": "openai:judge"}}
    if "spec" in settings:
        section["judge"] = {"spec": settings.pop("spec")}
    if "repeats" in settings:
        section["repeats"] = settings.pop("repeats")
    return Recipe.model_validate({"eval": {**section, "alpaca_eval": settings}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small(tmp_path / "files")


def _open(folder: Path, say: Say = longer, *, judge: str | None = None, **settings):
    recipe = _recipe(folder, **settings)
    files = read_alpaca_eval(folder, version=recipe.eval.alpaca_eval.version)
    panel = Panel(say, name=judge or "gpt-4-1106-preview")
    return AlpacaEval(files, panel, recipe=recipe), panel


def _answers(text: Callable[[int], str], *, repeats: int = 1) -> list[Answer]:
    return [
        Answer(place, 1, text(place), 5, True, sample)
        for sample in range(repeats)
        for place in range(COUNT)
    ]


def _run(bench: AlpacaEval, answers, match: Match, path: Path):
    rows = bench.judge(answers, match, path=path / "judgments.jsonl", on_done=lambda *s: None)
    return rows, bench.aggregate(rows, match)


MINE = _answers(lambda place: "y" * (31 - place))
SFT, DPO = Match("sft"), Match("dpo", "sft")


def test_without_a_judge_the_benchmark_is_left_out(folder):
    assert isinstance(benchmark(_recipe(folder, spec=None)), LeftOut)


def test_answers_are_sampled_as_upstreams_for_zephyr(folder):
    bench, _ = _open(folder)
    sampling = bench.sampling(bench.questions[0], sample=2)
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (0.7, 1.0, 2048)
    assert sampling.seed != bench.sampling(bench.questions[0], sample=0).seed
    (message,) = bench.conversation(bench.questions[3], [])
    assert (message.role, message.content) == ("user", "Say the number 3.")


def test_against_upstreams_baseline_one_order_is_asked_as_the_instruction_says(folder):
    bench, panel = _open(folder)
    _run(bench, {"sft": MINE}, SFT, folder)
    assert [request.order for request in panel.asked] == [
        2 if is_switched(f"Say the number {place}.") else 1 for place in range(COUNT)
    ]
    assert {request.models for request in panel.asked} == {("gpt4_1106_preview", "sft")}


@pytest.mark.parametrize(
    ("match", "settings", "orders"),
    [
        (SFT, {}, 1),
        (SFT, {"swap": True}, 2),
        (SFT, {"spec": "local:tiny"}, 2),
        (DPO, {}, 2),
        (DPO, {"swap": False}, 1),
    ],
)
def test_both_orders_are_judged_where_a_place_would_decide(folder, match, settings, orders):
    bench, _ = _open(folder, **settings)
    answers = {"sft": MINE, "dpo": _answers(lambda place: "z" * (place + 1))}
    assert len(bench.requests(answers, match)) == orders * COUNT


def test_judgments_are_asked_once_and_identical_outputs_never(folder, tmp_path):
    bench, panel = _open(folder)
    same = bench.questions[4].baseline
    answers = {"sft": [*MINE[:4], Answer(4, 1, same, 5, True), *MINE[5:]]}
    rows, scores = _run(bench, answers, SFT, tmp_path)
    assert len(panel.asked) == COUNT - 1
    (draw,) = [row for row in rows if row["preference_from"] == "identical"]
    assert (draw["question_id"], draw["preference"], draw["order"]) == (4, 1.5, 0)
    assert scores.details["alpaca_eval"]["n_draws"] == 1
    written = (tmp_path / "judgments.jsonl").read_bytes()
    again, _ = _run(bench, answers, SFT, tmp_path)
    assert len(panel.asked) == COUNT - 1
    assert (tmp_path / "judgments.jsonl").read_bytes() == written
    assert bench.aggregate(again, SFT) == scores


def test_scores_begin_with_length_control_and_agree_with_the_stored_file(folder, tmp_path):
    bench, _ = _open(folder)
    _, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    metrics = ["length_controlled_winrate", "win_rate", "discrete_win_rate", "avg_length"]
    assert [score.metric for score in scores.scores] == metrics
    assert scores.gate == scores.scores[0].value
    assert all(score.low <= score.value <= score.high for score in scores.scores)
    assert all(score.judge == "gpt-4-1106-preview" for score in scores.scores)
    stored = rescore(Inputs(tmp_path / "judgments.jsonl", 2, folder / "df_gamed.csv"))
    assert stored.figures == pytest.approx(scores.details["alpaca_eval"])
    assert stored.figures["length_controlled_winrate"] == pytest.approx(scores.gate)
    mean = sum(scores.by_question.values()) / len(scores.by_question)
    assert mean == pytest.approx(scores.gate)  # so that a difference of means is the metric's
    assert scores.details["categories"].keys() == {"even", "odd"}


def test_stored_judgments_hold_upstreams_fields(folder, tmp_path):
    bench, _ = _open(folder)
    rows, _ = _run(bench, {"sft": MINE}, SFT, tmp_path)
    row = rows[3]
    assert row["instruction"] == "Say the number 3."
    assert row["output_1"] == bench.questions[3].baseline
    assert row["output_2"] == MINE[3].text
    assert (row["generator_1"], row["generator_2"]) == ("gpt4_1106_preview", "sft")
    assert row["annotator"] == "weighted_alpaca_eval_gpt4_turbo"
    assert row["dataset"] == "odd"
    top = row["raw_completion"]["logprobs"]["content"][0]["top_logprobs"]
    assert {entry["token"] for entry in top} == {"m", "M"}
    upstreams = tmp_path / "annotations.json"
    fields = ("instruction", "output_1", "output_2", "generator_1", "generator_2", "preference")
    upstreams.write_text(json.dumps([{name: row[name] for name in fields} for row in rows]))
    ours = rescore(Inputs(tmp_path / "judgments.jsonl", 2, folder / "df_gamed.csv"))
    baseline = folder / "alpaca_eval_gpt4_baseline.json"
    theirs = rescore(Inputs(upstreams, 2, folder / "df_gamed.csv", baseline))
    assert theirs.figures == pytest.approx(ours.figures)


def test_a_judge_of_places_gives_no_preference_over_both_orders(folder, tmp_path):
    bench, _ = _open(folder, the_first, swap=True)
    _, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    values = {score.metric: score.value for score in scores.scores}
    assert values["win_rate"] == pytest.approx(50)
    effect = scores.details["order_effect"]
    assert effect["first"] == pytest.approx(90)
    assert effect["second"] == pytest.approx(10)
    assert effect["flips"] == 1
    assert any("the order decides much" in notice for notice in scores.notices)
    rates = [score for score in scores.scores if score.metric != "avg_length"]
    assert all(score.high - score.low > 10 for score in rates)  # twelve draws are not certainty


def test_a_model_of_ones_own_is_compared_without_length_control(folder, tmp_path):
    bench, _ = _open(folder)
    answers = {
        "sft": MINE,
        "dpo": _answers(lambda place: "z" * (31 - place + (8 if place % 3 else -6))),
    }
    _, scores = _run(bench, answers, DPO, tmp_path)
    assert [score.metric for score in scores.scores] == [
        "win_rate_vs_sft",
        "discrete_win_rate_vs_sft",
        "equal_length_win_rate_vs_sft",
        "avg_length",
    ]
    main, _, even, _ = scores.scores
    assert main.value > 52  # dpo is mostly longer, and this judge likes that
    assert even.value == pytest.approx(50, abs=2)  # and likes nothing else
    assert scores.details["length"]["ratio"] > 1
    assert scores.details["order_effect"]["flips"] == 0
    assert any("no length-controlled win rate" in notice for notice in scores.notices)
    assert bench.matches(["sft", "dpo"], baseline="sft") == [SFT, Match("dpo"), DPO]
    assert bench.matches(["sft", "dpo"], baseline=None) == [SFT, Match("dpo")]


def test_another_judge_makes_length_control_uncalibrated(folder, tmp_path):
    bench, _ = _open(folder, judge="my-judge")
    _, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    (said,) = [text for text in scores.notices if "calibrated" in text]
    assert said.endswith("not for my-judge")


def test_a_judge_without_probabilities_is_read_by_its_letter_and_that_is_said(folder, tmp_path):
    bench, _ = _open(folder, lambda request: JudgeReply("M"))
    _, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    assert scores.details["verdicts_from"] == {"text": COUNT}
    assert any("12 of 12 verdicts are the letter" in text for text in scores.notices)


@pytest.mark.parametrize(("silent", "gated", "said"), [(1, True, "incomplete"), (3, False, "80 %")])
def test_missing_verdicts_are_counted_and_too_many_leave_no_score(
    folder, tmp_path, silent, gated, said
):
    def say(request: JudgeRequest) -> JudgeReply:
        return longer(request) if request.question_id >= silent else JudgeReply("?", {"The": -0.1})

    bench, _ = _open(folder, say)
    _, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    assert scores.details["unparsed"] == silent
    assert (scores.gate is not None) is gated
    assert bool(scores.scores) is gated
    assert any(said in text for text in scores.notices)


def test_version_1_ranks_against_the_older_baseline(folder, tmp_path):
    def say(request: JudgeRequest) -> JudgeReply:
        mine_first = "model_1: <y" in request.user
        rank = 1 if mine_first else 2
        return JudgeReply(f"[{{'model': 'model_1', 'rank': {rank}}}]")

    bench, panel = _open(folder, say, version=1)
    rows, scores = _run(bench, {"sft": MINE}, SFT, tmp_path)
    assert panel.asked[0].models == ("text_davinci_003", "sft")
    assert {row["preference"] for row in rows} == {2.0}
    assert scores.scores[0].metric == "win_rate"
    assert scores.gate == 100
    assert scores.scores[0].low < 100  # twelve wins are no certainty


def test_repeats_are_united_before_anything_is_counted(folder, tmp_path):
    answers = _answers(lambda place: "y" * (31 - place), repeats=2)
    answers = [
        Answer(a.question_id, 1, a.text + "yyyyy" * a.sample, 5, True, a.sample) for a in answers
    ]
    bench, panel = _open(folder, repeats=2)
    _, scores = _run(bench, {"sft": answers}, SFT, tmp_path)
    assert len(panel.asked) == 2 * COUNT
    assert scores.details["alpaca_eval"]["n_total"] == COUNT
    assert scores.details["alpaca_eval"]["avg_length"] == int(25.5 + 2.5)


def test_a_limit_asks_the_first_and_says_so(folder, tmp_path):
    bench, _ = _open(folder, limit=5)
    assert [question.question_id for question in bench.questions] == list(range(5))
    _, scores = _run(bench, {"sft": MINE[:5]}, SFT, tmp_path)
    assert any("5 of 805 instructions" in text for text in scores.notices)
    assert scores.details["incomplete"] is True


def test_a_file_that_lacks_is_named(folder):
    (folder / "df_gamed.csv").unlink()
    with pytest.raises(DataError, match=r"df_gamed\.csv"):
        read_alpaca_eval(folder, version=2)
    assert read_alpaca_eval(folder, version=1).gamed is None


def test_models_differ_by_the_fitted_rate_and_win_by_what_the_judge_said(folder, tmp_path):
    bench, _ = _open(folder)
    answers = {"sft": MINE, "dpo": _answers(lambda place: "z" * (36 - place + place % 3))}
    found = {}
    for match in (SFT, Match("dpo")):
        _, found[match.model] = _run(bench, answers, match, tmp_path / match.model)
    (compared,) = compare(bench, found, baseline=None, replicates=200, seed=0)
    assert compared.metric == "length_controlled_winrate"
    values = [found[model].scores[0].value for model in ("sft", "dpo")]
    assert compared.difference == pytest.approx(values[1] - values[0])
    assert compared.low < compared.difference < compared.high
    assert (compared.wins, compared.ties, compared.losses) == (COUNT, 0, 0)  # dpo is longer
    raw = [found[model].details["categories"]["odd"]["value"] for model in ("sft", "dpo")]
    assert compared.categories["odd"]["difference"] == pytest.approx(raw[1] - raw[0], abs=0.1)


def test_recorded_judgments_judge_again_in_both_orders(folder, tmp_path):
    bench, _ = _open(folder, swap=True)
    rows, scores = _run(bench, {"sft": MINE}, SFT, tmp_path / "first")
    spec = f"replay:{tmp_path / 'first' / 'judgments.jsonl'}"
    recorded = benchmark(_recipe(folder, swap=True, spec=spec))
    assert isinstance(recorded, AlpacaEval)
    again, replayed = _run(recorded, {"sft": MINE}, SFT, tmp_path / "again")
    assert [row["preference"] for row in again] == [row["preference"] for row in rows]
    assert replayed.gate == scores.gate
    assert recorded.judge_name == "gpt-4-1106-preview (recorded)"
    (said,) = [text for text in replayed.notices if "calibrated" in text]
    assert said.endswith("not for both orders")


def test_a_repeat_without_a_verdict_counts_against_the_coverage(folder, tmp_path):
    def say(request: JudgeRequest) -> JudgeReply:
        return longer(request) if request.sample == 0 else JudgeReply("?", {"The": -0.1})

    answers = [
        Answer(a.question_id, 1, a.text + "y" * a.sample, 5, True, a.sample)
        for a in _answers(lambda place: "y" * (31 - place), repeats=2)
    ]
    bench, _ = _open(folder, say, repeats=2)
    _, scores = _run(bench, {"sft": answers}, SFT, tmp_path)
    assert (scores.details["coverage"], scores.details["n"]) == (0.5, COUNT)
    assert scores.gate is None
