"""The whole preparation: nothing is lost, nothing leaks, and the same rows give the same bytes."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zephyrctl.config.schema import Recipe
from zephyrctl.data.account import DataAccount
from zephyrctl.data.load import load_split, sample_prompts
from zephyrctl.data.messages import Message
from zephyrctl.data.prepare import prepare
from zephyrctl.data.splits import is_held_out
from zephyrctl.data.text import digest, normalized
from zephyrctl.data.tokens import encode_dialogue
from zephyrctl.errors import ConfigError, DataError, Interrupted
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run, open_run

MODEL = {"model": {"base": "tiny"}}
SEAS = ["Baltic", "Red Sea", "Black Sea", "Dead Sea", "North Sea", "Coral Sea", "Kara Sea"]


def dialogue(question: str, answer: str) -> dict[str, Any]:
    """A row in UltraChat's schema."""
    return {"data": [question, answer]}


def questions(count: int) -> list[dict[str, Any]]:
    """Different dialogues in UltraChat's schema."""
    return [
        dialogue(f"Which sea has number {i}?", f"It is the {SEAS[i % 7]}, called number {i}.")
        for i in range(count)
    ]


def ratings(count: int) -> list[dict[str, Any]]:
    """Rated prompts in UltraFeedback's schema."""
    return [
        {
            "instruction": f"Which sea has number {i}?",
            "completions": [
                {"model": "a", "response": f"The {SEAS[i % 7]}, number {i}.", "overall_score": 9},
                {"model": "b", "response": f"No sea is {i}. Really.", "overall_score": 2},
            ],
        }
        for i in range(count)
    ]


def run_prepare(recipe: Recipe, tiny_base: Path) -> tuple[DataAccount, Run]:
    run = open_run(recipe)
    account = prepare(
        recipe,
        run,
        tokenizer_path=str(tiny_base),
        revision=None,
        reporter=run.stage("data").reporter(),
    )
    return account, run


def lines(run: Run, stage: str, split: str) -> list[dict[str, Any]]:
    path = run.stage("data").path / stage / f"{split}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sft(path: Path, **extra: Any) -> dict[str, Any]:
    return {"sft": {"train": [{"path": str(path)}], "test_size": 0.2, **extra}}


def test_both_stages_are_written_and_read_back(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    zephyr_tokenizer: Any,
) -> None:
    data = sft(jsonl(questions(60), "chat.jsonl"))
    data["dpo"] = {"train": [{"path": str(jsonl(ratings(60), "rate.jsonl"))}], "test_size": 0.2}
    account, run = run_prepare(recipe_of(data, **MODEL), tiny_base)
    for stage in ("sft", "dpo"):
        out = account.stages[stage].rows_out
        assert out["train"] + out["test"] == 60
        assert out["test"] > 2
    rows = load_split(run, "sft", "train")
    text = lines(run, "sft", "train")
    assert rows["id"] == [row["id"] for row in text]
    first = [Message(m["role"], m["content"]) for m in text[0]["messages"]]
    encoded = encode_dialogue(zephyr_tokenizer, first)
    assert (rows[0]["input_ids"], rows[0]["assistant_mask"]) == (
        encoded.input_ids,
        encoded.assistant_mask,
    )
    pairs = load_split(run, "dpo", "test")
    assert set(pairs.column_names) == {"id", "prompt_ids", "chosen_ids", "rejected_ids"}
    assert all("number" in row["chosen"][0]["content"] for row in lines(run, "dpo", "train"))
    assert sample_prompts(run, "dpo", 2)[0][-1].role == "user"
    assert account.metrics()["sft.train"] == len(rows)
    stored = json.loads((run.stage("data").path / "account.json").read_text())
    assert stored["sft"]["rows_in"] == 60
    assert stored["dpo"]["length_bias"]["pairs"] == len(load_split(run, "dpo", "train"))


def test_every_kind_of_loss_is_counted_with_samples(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    rows = [
        *questions(40),
        {"data": None},
        {"data": ["a question"]},
        dialogue("Will you help?", "I'm sorry, but I can't help with that."),
        dialogue("Say something.", "this is lower case. all of it."),
        dialogue("WHICH SEA HAS NUMBER 3", "it is the Dead Sea, called number 3!"),
        dialogue("Who judges this?", "Nobody knows."),
        dialogue("A long one.", "Sea " * 300),
    ]
    held = [{"question_id": 1, "turns": ["who judges THIS"]}]
    data = sft(
        jsonl(rows),
        filters=["drop_refusals", "drop_lowercase", {"name": "length", "max_tokens": 200}, "dedup"],
    )
    data["decontaminate"] = {"against": [str(jsonl(held, "questions.jsonl")), "mt-bench"]}
    account, run = run_prepare(recipe_of(data, **MODEL), tiny_base)
    part = account.stages["sft"]
    assert part.removed == {
        "broken: column 'data' is null": 1,
        "broken: the last turn is not the assistant's": 1,
        "refusal or AI disclaimer": 1,
        "answer in lower case": 1,
        "duplicate": 1,
        f"contains a judged prompt ({jsonl(held, 'questions.jsonl')})": 1,
        "longer than max_tokens": 1,
    }
    assert part.rows_in == 47 == 7 + sum(part.rows_out.values())
    assert part.samples["duplicate"][0]["where"].endswith("rows.jsonl:45")
    assert part.matches[0]["how"] == "same words"
    assert account.decontamination[1]["status"] == "NOT CHECKED"
    assert any("mt-bench: NOT CHECKED" in text for text in account.notices)
    assert (run.stage("data").path / "account.json").is_file()


_content = st.one_of(st.none(), st.integers(), st.text(max_size=12), st.just("N/A"), st.just(" "))
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "x"]), "content": _content}
)
_row = st.one_of(
    st.fixed_dictionaries({"messages": st.lists(_message, max_size=5)}),
    st.fixed_dictionaries({"messages": _content}),
    st.builds(
        lambda q, a: {"messages": [m("user", q), m("assistant", a)]},
        st.sampled_from(["one", "two", "Three?", "Four!"]),
        st.sampled_from(["Yes.", "no. never at all.", "As an AI, no."]),
    ),
)


def m(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(rows=st.lists(_row, max_size=30), limit=st.one_of(st.none(), st.integers(1, 20)))
def test_no_row_is_lost_uncounted(
    rows: list[dict[str, Any]],
    limit: int | None,
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
) -> None:
    sound = [{"messages": [m("user", f"sea {i}"), m("assistant", f"Sea {i}.")]} for i in range(9)]
    source = {"path": str(jsonl([*sound, *rows])), "limit": limit, "format": "messages"}
    filters = ["drop_empty", "drop_refusals", "drop_lowercase", "fix_truecase", "dedup"]
    data = {"sft": {"train": [source], "test_size": 0, "filters": filters}}
    try:
        account, _ = run_prepare(recipe_of(data, **MODEL), tiny_base)
    except DataError as error:
        if "no training row is left" not in error.message:
            raise
        return
    part = account.stages["sft"]
    assert part.rows_in == 9 + len(rows)
    assert part.rows_in == sum(part.rows_out.values()) + sum(part.removed.values())


def test_rows_of_the_official_test_split_are_taken_out_of_train(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    rows = questions(20)
    loud = dialogue("WHICH SEA, HAS NUMBER 4??", "Another answer.")
    data = sft(jsonl([*rows[:10], loud], "train.jsonl"))
    data["sft"]["test"] = [{"path": str(jsonl(rows[4:6] + rows[15:], "test.jsonl"))}]
    account, run = run_prepare(recipe_of(data, **MODEL), tiny_base)
    assert account.stages["sft"].removed == {"overlaps the test split": 3}
    asked = [
        {normalized(row["messages"][0]["content"]) for row in lines(run, "sft", split)}
        for split in ("train", "test")
    ]
    assert not asked[0] & asked[1]
    assert len(asked[1]) == 7


def test_more_rows_move_no_row_between_splits(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    splits = []
    for count in (40, 80):
        rows = questions(count)
        random.Random(count).shuffle(rows)
        _, run = run_prepare(recipe_of(sft(jsonl(rows)), **MODEL), tiny_base)
        splits.append({row["messages"][0]["content"] for row in lines(run, "sft", "test")})
    assert splits[0] < splits[1]


def test_share_of_held_out_rows_is_about_what_was_asked() -> None:
    keys = [digest(str(i)) for i in range(20_000)]
    held = sum(is_held_out(key, test_size=0.05, seed=42) for key in keys)
    assert 890 < held < 1110  # 1000 expected, standard deviation 31


def test_bytes_are_equal_across_runs_and_processes(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    filters = ["drop_refusals", "fix_truecase", "dedup"]
    contents = []
    for processes, name in ((1, "one"), (1, "again"), (2, "two")):
        data = sft(jsonl([*questions(300), *questions(20)]), filters=filters)
        data["processes"] = processes
        recipe = recipe_of(data, **MODEL).model_copy(update={"name": name})
        _, run = run_prepare(recipe, tiny_base)
        root = run.stage("data").path
        names = ["sft/train.jsonl", "sft/test.jsonl", "sft/train.parquet", "sft/test.parquet"]
        contents.append([(root / file).read_bytes() for file in [*names, "account.json"]])
    assert contents[0] == contents[1] == contents[2]


def test_failure_leaves_the_earlier_data_as_they_were(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    path = jsonl(questions(30))
    _, run = run_prepare(recipe_of(sft(path), **MODEL), tiny_base)
    before = (run.stage("data").path / "sft" / "train.parquet").read_bytes()
    path.write_text(path.read_text() + "{broken\n")
    with pytest.raises(DataError, match="not JSON") as caught:
        run_prepare(recipe_of(sft(path), **MODEL), tiny_base)
    assert caught.value.where == f"{path}:31:2"
    assert (run.stage("data").path / "sft" / "train.parquet").read_bytes() == before
    leftovers = [p.name for p in run.stage("data").path.iterdir() if "partial" in p.name]
    assert not leftovers


def test_bad_lines_are_counted_where_the_source_says_drop(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    path = jsonl(questions(30))
    path.write_text(path.read_text() + "{broken\n[1]\n")
    data = {"sft": {"train": [{"path": str(path), "on_bad_line": "drop"}], "test_size": 0.2}}
    account, _ = run_prepare(recipe_of(data, **MODEL), tiny_base)
    removed = account.stages["sft"].removed
    assert sum(removed.values()) == 2
    assert removed["broken: not a JSON object"] == 1


def test_long_rows_are_cut_and_counted(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    rows = [*questions(30), dialogue("Count.", "sea " * 200), dialogue("long " * 200, "Yes.")]
    recipe = recipe_of(sft(jsonl(rows), test_size=0), sft={"max_length": 64}, **MODEL)
    account, run = run_prepare(recipe, tiny_base)
    part = account.stages["sft"]
    assert part.removed == {"no token of the assistant within max_length": 1}
    assert part.splits["train"]["rows_cut"] == 1
    assert part.splits["train"]["longest"] == 64
    assert max(len(ids) for ids in load_split(run, "sft", "train")["input_ids"]) == 64


def test_wrapped_packing_cuts_no_row(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    rows = [*questions(30), dialogue("Count.", "sea " * 200)]
    settings = {"max_length": 64, "packing": "wrapped"}
    recipe = recipe_of(sft(jsonl(rows), test_size=0), sft=settings, **MODEL)
    part = run_prepare(recipe, tiny_base)[0].stages["sft"]
    assert part.splits["train"]["rows_cut"] == 0
    assert part.splits["train"]["sequences"] == -(-part.splits["train"]["tokens"] // 64)


def test_flagged_rows_stay_and_are_listed(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    asked = jsonl([{"turns": ["Which sea has number 3?"]}], "asked.jsonl")
    data = sft(jsonl(questions(30)))
    data["decontaminate"] = {"against": [str(asked)], "action": "flag"}
    part = run_prepare(recipe_of(data, **MODEL), tiny_base)[0].stages["sft"]
    assert sum(part.rows_out.values()) == 30
    assert list(part.flagged.values()) == [1]
    assert part.matches[0]["prompt"] == "Which sea has number 3?"


def test_stage_that_left_the_recipe_leaves_no_files(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    both = sft(jsonl(questions(30), "chat.jsonl"))
    both["dpo"] = {"train": [{"path": str(jsonl(ratings(30), "rate.jsonl"))}], "test_size": 0.2}
    _, run = run_prepare(recipe_of(both, **MODEL), tiny_base)
    account, _ = run_prepare(recipe_of({"sft": both["sft"]}, **MODEL), tiny_base)
    assert not (run.stage("data").path / "dpo").exists()
    assert "data.dpo.train is empty: no dpo data" in account.notices


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([{"data": None}, {"data": []}], {}, "no training row is left of 2: 1 broken"),
        (questions(3), {"test_size": 0.001}, "the held-out split is empty"),
        ([], {}, "the source holds no rows"),
    ],
)
def test_split_without_rows_is_an_error(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    rows: list[Any],
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        run_prepare(recipe_of(sft(jsonl(rows), **settings), **MODEL), tiny_base)


@pytest.mark.parametrize("prompts", [1, 2, 5])
@pytest.mark.parametrize("share", [0.001, 0.999999])
def test_share_that_parts_no_rows_names_one_that_does(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    prompts: int,
    share: float,
) -> None:
    """Few votes are what everybody begins with: three for each prompt, which stay together."""
    rows = [
        {
            "prompt": f"Which sea has number {i}?",
            "chosen": f"It is the {SEAS[j]}, called {i}.",
            "rejected": f"None. Really, {j} times none.",
        }
        for i in range(prompts)
        for j in range(3)
    ]
    source = {"train": [{"path": str(jsonl(rows, "prefs.jsonl"))}]}
    with pytest.raises(DataError) as caught:
        run_prepare(recipe_of({"dpo": source | {"test_size": share}}, **MODEL), tiny_base)
    assert caught.value.where == "data.dpo.test_size"
    hint = caught.value.hint or ""
    found = [float(text) for text in re.findall(r"--set data.dpo.test_size=([\d.]+)", hint)]
    assert found[-1] == 0
    assert len(found) == (1 if prompts == 1 else 2)
    for size in found:
        recipe = recipe_of({"dpo": source | {"test_size": size}}, **MODEL)
        part = run_prepare(recipe, tiny_base)[0].stages["dpo"]
        assert part.rows_out["train"] > 0
        assert (part.rows_out["test"] > 0) == (size > 0)


@pytest.mark.parametrize("limit", [None, 12])
def test_judged_answers_are_joined_and_every_row_is_counted(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    limit: int | None,
) -> None:
    """KTO's rows: 20 prompts with both labels, one with the good answer alone, one broken row."""
    rows: list[dict[str, Any]] = [
        {"prompt": f"Sea {i}?", "completion": f"{SEAS[i % 7]}, number {i}.", "label": True}
        for i in range(21)
    ]
    rows += [
        {"prompt": f"Sea {i}?", "completion": f"No sea is {i}.", "label": False} for i in range(20)
    ]
    rows.append({"prompt": "Sea?", "completion": None, "label": True})
    source = {"path": str(jsonl(rows)), "limit": limit}
    data = {"dpo": {"train": [source], "test_size": 0}}
    account, run = run_prepare(recipe_of(data, **MODEL), tiny_base)
    part = account.stages["dpo"]
    assert part.sources[0].format == "kto"
    assert part.rows_in == 42 == sum(part.rows_out.values()) + sum(part.removed.values())
    assert part.rows_out["train"] == (limit or 20)
    assert part.removed["joined with another row into a pair"] == 20
    assert part.removed["no answer with the other label to pair with"] == 1
    assert all("number" in row["chosen"][0]["content"] for row in lines(run, "dpo", "train"))
    assert all("No sea" in row["rejected"][0]["content"] for row in lines(run, "dpo", "train"))


def test_recipe_without_sources_is_refused(
    recipe_of: Callable[..., Recipe], tiny_base: Path
) -> None:
    with pytest.raises(ConfigError, match="names no training data"):
        run_prepare(recipe_of({}, **MODEL), tiny_base)


def test_preparation_stops_at_a_signal(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> None:
        raise Interrupted("stopped by Ctrl-C")

    monkeypatch.setattr(signals, "raise_if_stopping", stop)
    with pytest.raises(Interrupted):
        run_prepare(recipe_of(sft(jsonl(questions(30))), **MODEL), tiny_base)
