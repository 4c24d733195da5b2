"""A run with judged answers, made by the benchmark itself on small files of our own."""

import json
from pathlib import Path
from typing import Any

from zephyrctl.config.layers import load
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.mt_bench.benchmark import MtBench, benchmark
from zephyrctl.evaluation.scores import Places, write_scores
from zephyrctl.runs.atomic import append_jsonl
from zephyrctl.runs.store import Run, open_run, write_config

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Say hi.", "Again."]},
    {"question_id": 82, "category": "writing", "turns": ["Say ho.", "Louder."]},
]
RATINGS = {"sft": (3, 4, 5, 6), "dpo": (7, 8, 9, 10)}
"""Of each model by question and turn."""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def files(folder: Path) -> Path:
    """MT-Bench's files, small."""
    templates = {
        "single-v1": "{question}|{answer}",
        "single-v1-multi-turn": "{question_2}|{answer_1}|{answer_2}",
        "pair-v2": "{question}|{answer_a}|{answer_b}",
        "pair-v2-multi-turn": "{question_2}|{answer_a_2}|{answer_b_2}",
    }
    prompts = [
        {"name": name, "system_prompt": "Judge.", "prompt_template": text}
        for name, text in templates.items()
    ]
    write_lines(folder / "question.jsonl", QUESTIONS)
    write_lines(folder / "judge_prompts.jsonl", prompts)
    write_lines(folder / "reference_answer" / "gpt-4-0125-preview.jsonl", [])
    return folder


def judgments(folder: Path) -> Path:
    """What the judge will say: ratings, and games that `dpo` wins but for one tie."""
    rows: list[dict[str, Any]] = []
    places = [(question["question_id"], turn) for question in QUESTIONS for turn in (1, 2)]
    for model, ratings in RATINGS.items():
        for (question, turn), rating in zip(places, ratings, strict=True):
            row = {"question_id": question, "turn": turn, "model": model, "judge": ["gpt-4", "x"]}
            rows.append({**row, "judgment": f"Well. Rating: [[{rating}]]"})
    for place, (question, turn) in enumerate(places):
        said = ("[[C]]", "[[C]]") if place == 0 else ("[[A]]", "[[B]]")
        rows.append(
            {
                "question_id": question,
                "turn": turn,
                "model_1": "dpo",
                "model_2": "sft",
                "judge": ["gpt-4", "x"],
                "g1_winner": "tie" if place == 0 else "model_1",
                "g2_winner": "tie" if place == 0 else "model_1",
                "g1_judgment": said[0],
                "g2_judgment": said[1],
            }
        )
    write_lines(folder / "recorded.jsonl", rows)
    return folder / "recorded.jsonl"


def judged_run(folder: Path, *, repeats: int = 1) -> Run:
    """The run `own`, with `sft` and `dpo` rated and compared."""
    flags = {
        "name": "own",
        "output_root": str(folder / "runs"),
        "eval.models": ["sft", "dpo"],
        "eval.benchmarks": ["mt-bench"],
        "eval.data_dir": str(files(folder / "mt_bench")),
        "eval.judge.spec": f"replay:{judgments(folder)}",
        "eval.mt_bench.mode": "both",
        "eval.repeats": repeats,
        "eval.bootstrap": 100,
    }
    loaded = load(flags=flags, cwd=folder)
    run = open_run(loaded.recipe)
    write_config(run, loaded)
    bench = benchmark(loaded.recipe)
    assert isinstance(bench, MtBench)
    places = Places.of(run, bench)
    answers = {model: _answers(model, repeats=repeats, path=places) for model in RATINGS}
    for match in bench.matches(["sft", "dpo"], baseline="sft"):
        rows = bench.judge(answers, match, path=places.judgments(match), on_done=lambda *_: None)
        scores = bench.aggregate(rows, match)
        write_scores(places.scores(match), scores, about={"opponent": match.opponent})
    return run


def _answers(model: str, *, repeats: int, path: Places) -> list[Answer]:
    found = []
    for sample in range(repeats):
        for question in QUESTIONS:
            for turn in (1, 2):
                text = f"{model} says hé to {question['question_id']}.{turn} ({sample})"
                answer = Answer(question["question_id"], turn, text, 5, True, sample)
                found.append(answer)
                append_jsonl(
                    path.answers(model),
                    {
                        "key": f"{model}-{sample}-{question['question_id']}-{turn}-0123456789",
                        "identity": "x",
                        "question_id": answer.question_id,
                        "turn": turn,
                        "sample": sample,
                        "answer": text,
                        "tokens": 5,
                        "stopped": True,
                    },
                )
    return found
