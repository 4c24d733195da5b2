"""Judged prompts are found in training rows, also in disguise, and clean rows are left alone."""

import gzip
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.ngrams import ngrams

from zephyrctl.config.schema import Recipe
from zephyrctl.data.decontamination import (
    Index,
    Match,
    QuestionList,
    load_lists,
    read_questions,
    wording,
)
from zephyrctl.data.decontamination.lists import docstring
from zephyrctl.data.messages import Dialogue, Message
from zephyrctl.data.text import words
from zephyrctl.errors import DataError, NetworkError

HERE = Path(__file__).parent
BESIDE_THE_REPOSITORY = HERE.resolve().parents[2] / "shared" / "data"
QUESTION = (
    "Compose an engaging travel blog post about a recent trip to Hawaii, highlighting cultural "
    "experiences and must-see attractions."
)
SHORT = "Describe the colour of the evening sky."
TINY = "Who are you?"


def row(user: str, assistant: str = "Fine.") -> Dialogue:
    return Dialogue((Message("user", user), Message("assistant", assistant)), "1", "t")


@pytest.fixture(scope="module")
def index() -> Index:
    lists = [QuestionList("bench", "here", (QUESTION, SHORT, TINY))]
    return Index(lists, ngram=13)


@pytest.mark.parametrize(
    ("user", "how"),
    [
        (QUESTION, "same words"),
        (QUESTION.upper(), "same words"),
        ("  " + QUESTION.replace(",", " -- ").replace(".", "!!"), "same words"),
        ("Please do this: " + QUESTION + " Thanks.", "13 words in a row"),
        ("Hello! " + SHORT.lower() + " And be quick.", "7 words in a row"),
        (TINY.upper() + "!", "same words"),
    ],
)
def test_copies_are_found(index: Index, user: str, how: str) -> None:
    match = index.find(row(user))
    assert match is not None
    assert match.list == "bench"
    assert match.how == how


def test_question_inside_an_answer_is_found(index: Index) -> None:
    assert index.find(row("Tell me a task.", f"Here is one: {QUESTION}")) is not None


@pytest.mark.parametrize(
    "user",
    [
        "Who are you going with?",
        "Describe the sound of the morning sky.",
        "Plan a trip to Hawaii.",
    ],
)
def test_rows_that_only_resemble_are_left_alone(index: Index, user: str) -> None:
    assert index.find(row(user)) is None


def test_other_words_in_a_long_prompt_are_a_near_duplicate(index: Index) -> None:
    asked = (
        "Please write me a travel blog post on my recent trip to Hawaii: make it engaging, with "
        "the attractions one must see, and highlight experiences of its culture."
    )
    found = index.find(row(asked))
    assert found is not None
    assert found.how == "similarity 0.82"


def test_one_other_word_in_a_short_prompt_makes_another_question() -> None:
    capital = Index([QuestionList("b", "", ("What is the capital of Australia?",))], ngram=13)
    assert capital.find(row("What is the capital of Austria?")) is None
    assert capital.find(row("What is the area of Australia?")) is None
    assert capital.find(row("Which city is Australia's capital?")) is not None
    sum_of = Index([QuestionList("b", "", ("What is the sum of 3 and 4?",))], ngram=13)
    assert sum_of.find(row("What is the sum of 3 and 5?")) is None
    assert sum_of.find(row("3 and 4: what is the sum?")) is not None


def test_rows_of_numbers_are_no_wording() -> None:
    numbers = " ".join(map(str, range(40)))
    lists = [QuestionList("b", "", (f"Which of these numbers are primes: {numbers}?",))]
    index = Index(lists, ngram=13)
    assert index.find(row("Count to forty.", numbers)) is None
    assert index.find(row(f"which of these numbers are primes {numbers}")) is not None


def test_runs_do_not_reach_over_the_end_of_a_turn(index: Index) -> None:
    words = QUESTION.split()
    assert index.find(row("Say it.", " ".join(words[:14]))) is not None
    assert index.find(row(" ".join(words[:7]), " ".join(words[7:]))) is None


Prompt = tuple[str, str, tuple[str, ...]]  # list, text, words


def plainly(
    lists: list[QuestionList], *, ngram: int, similarity: float, record: Dialogue
) -> Match | None:
    """What finds a record, test by test and prompt by prompt, without any index."""
    turns = [words(m.content) for m in record.messages]
    asked = [words(m.content) for m in record.messages if m.role == "user"]
    prompts = [(item.name, text, words(text)) for item in lists for text in item.texts or ()]
    prompts = [prompt for prompt in prompts if prompt[2]]
    found = chain(
        same_words(asked, prompts),
        same_runs(turns, prompts, ngram),
        held_whole(asked, prompts, ngram),
        worded_alike(asked, prompts, similarity),
    )
    return next(found, None)


def same_words(asked: Sequence[Sequence[str]], prompts: Sequence[Prompt]) -> Iterator[Match]:
    for tokens, (name, text, prompt) in product(asked, prompts):
        if tokens == prompt:
            yield Match(name, text, "same words")


def same_runs(turns: Sequence[Sequence[str]], prompts: Sequence[Prompt], n: int) -> Iterator[Match]:
    for tokens in turns:
        for run, (name, text, prompt) in product(ngrams(tokens, n), prompts):
            named = sum(not word.isnumeric() for word in run)
            if run in set(ngrams(prompt, n)) and 2 * named >= n:
                yield Match(name, text, f"{n} words in a row")


def held_whole(
    asked: Sequence[Sequence[str]], prompts: Sequence[Prompt], n: int
) -> Iterator[Match]:
    for tokens, (name, text, prompt) in product(asked, prompts):
        length = len(prompt)
        if 6 <= length < n and prompt in set(ngrams(tokens, length)):
            yield Match(name, text, f"{length} words in a row")


def worded_alike(
    asked: Sequence[Sequence[str]], prompts: Sequence[Prompt], similarity: float
) -> Iterator[Match]:
    for tokens in asked:
        enough = [
            (alike(tokens, prompt), name, text)
            for name, text, prompt in prompts
            if alike(tokens, prompt) >= needed(tokens, prompt, similarity)
        ]
        for score, name, text in sorted(enough, key=lambda item: -item[0]):
            yield Match(name, text, f"similarity {int(100 * score) / 100:.2f}")


def alike(one: Sequence[str], other: Sequence[str]) -> float:
    table = wording.weights()
    first, second = {wording.stem(w) for w in one}, {wording.stem(w) for w in other}
    weight = [sum(table[stem] for stem in stems) for stems in (first, second, first & second)]
    return 2 * weight[2] / (weight[0] + weight[1]) if weight[0] + weight[1] else 0.0


def needed(one: Sequence[str], other: Sequence[str], similarity: float) -> float:
    first, second = {wording.stem(w) for w in one}, {wording.stem(w) for w in other}
    if min(len(first), len(second)) >= wording.SHORT:
        return similarity
    numbers = [{stem for stem in stems if stem.isnumeric()} for stems in (first, second)]
    return similarity + (1 - similarity) / 3 if numbers[0] == numbers[1] else 2.0


VOCABULARY = ["the", "what", "is", "river", "rivers", "bank", "7", "8", "paints", "zebra", "quartz"]
TEXT = st.lists(st.sampled_from(VOCABULARY), min_size=0, max_size=14).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    prompts=st.lists(TEXT, min_size=1, max_size=8),
    turns=st.lists(TEXT.filter(bool), min_size=2, max_size=4),
    ngram=st.integers(3, 9),
    similarity=st.sampled_from([0.5, 0.7, 1.0]),
)
def test_index_finds_what_comparing_with_every_prompt_finds(
    prompts: list[str], turns: list[str], ngram: int, similarity: float
) -> None:
    lists = [
        QuestionList("a", "", tuple(prompts[::2])),
        QuestionList("b", "", tuple(prompts[1::2])),
    ]
    roles = ("user", "assistant", "user", "assistant")
    record = Dialogue(
        tuple(Message(role, text) for role, text in zip(roles, turns, strict=False)), "1", "t"
    )
    found = Index(lists, ngram=ngram, similarity=similarity).find(record)
    assert found == plainly(lists, ngram=ngram, similarity=similarity, record=record)


def paraphrases(grade: str, *, held_out: bool) -> list[tuple[str, str]]:
    """Prompts with one paraphrase each; the measure was chosen without those held out."""
    lines = (HERE / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["held_out"] == held_out]
    return [(row["prompt"], row[grade]) for row in rows]


def recall(pairs: list[tuple[str, str]]) -> float:
    index = Index([QuestionList("b", "", tuple(prompt for prompt, _ in pairs))], ngram=13)
    found = [index.find(row(asked)) for _, asked in pairs]
    right = [
        match is not None and match.prompt == prompt
        for match, (prompt, _) in zip(found, pairs, strict=True)
    ]
    return sum(right) / len(right)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(("grade", "least"), [("light", 0.95), ("medium", 0.8)])
def test_paraphrases_are_found(grade: str, least: float, held_out: bool) -> None:
    pairs = paraphrases(grade, held_out=held_out)
    assert len(pairs) == (12 if held_out else 30)
    assert recall(pairs) >= least


def test_paraphrases_in_new_words_are_not_found_which_the_documentation_says() -> None:
    assert recall(paraphrases("heavy", held_out=False)) == 0
    assert recall(paraphrases("heavy", held_out=True)) == 0


def test_same_questions_asked_of_each_other_are_not_paraphrases() -> None:
    pairs = paraphrases("light", held_out=False)
    assert len(pairs) > 1
    for prompt, _ in pairs:
        others = tuple(asked for other, asked in pairs if other != prompt)
        assert Index([QuestionList("b", "", others)], ngram=13).find(row(prompt)) is None


def test_no_false_hits_on_rows_that_share_the_vocabulary(index: Index) -> None:
    rng = random.Random(0)
    vocabulary = sorted(set((QUESTION + " " + SHORT).lower().split()) | wording.weights().keys())
    rows = [row(" ".join(rng.choices(vocabulary, k=15))) for _ in range(2000)]
    assert sum(index.find(item) is not None for item in rows) == 0


def test_question_files_of_every_known_kind_are_read(tmp_path: Path) -> None:
    mt_bench = tmp_path / "question.jsonl"
    mt_bench.write_text(json.dumps({"question_id": 1, "turns": ["One?", "Two?"]}) + "\n")
    alpaca = tmp_path / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": "Three?", "dataset": "x"}]))
    plain = tmp_path / "plain.txt"
    plain.write_text("Four?\n\nFive?\n")
    found = [list(read_questions(path)) for path in (mt_bench, alpaca, plain)]
    assert found == [["One?", "Two?"], ["Three?"], ["Four?", "Five?"]]
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"foo": 1}\n')
    with pytest.raises(DataError, match="holds no prompt"):
        list(read_questions(odd))


def test_lists_come_from_the_recipe_and_absent_ones_are_marked(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = tmp_path / "mt_bench"
    folder.mkdir()
    (folder / "question.jsonl").write_text('{"turns": ["One?", "Two?"]}\n')
    data: dict[str, Any] = {"decontaminate": {"against": ["rules", "mt-bench", "./gone.jsonl"]}}
    rules, bench, gone = load_lists(recipe_of(data, eval={"data_dir": str(folder)}))
    assert bench.texts == ("One?", "Two?")
    assert (rules.texts, rules.place) == (None, "eval.rules.questions is not set")
    assert gone.texts is None


def test_benchmarks_are_found_in_every_layout_of_the_data_folder(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    bench, alpaca = '{"turns": ["One?", "Two?"]}\n', json.dumps([{"instruction": "Three?"}])
    for place, (questions, instructions) in {
        "flat": ("question.jsonl", "alpaca_eval.json"),
        "deep": ("mt_bench/question.jsonl", "alpaca_eval/baseline.json"),
    }.items():
        for name, text in ((questions, bench), (instructions, alpaca)):
            path = tmp_path / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        data = {"decontaminate": {"against": ["mt-bench", "alpaca-eval"]}}
        lists = load_lists(recipe_of(data, eval={"data_dir": str(tmp_path / place)}))
        assert [item.texts for item in lists] == [("One?", "Two?"), ("Three?",)]


def test_published_files_hold_all_their_prompts(recipe_of: Callable[..., Recipe]) -> None:
    folder = Path(os.environ.get("ZEPHYRCTL_TEST_DATA", BESIDE_THE_REPOSITORY))
    if not (folder / "mt_bench" / "question.jsonl").is_file():
        pytest.skip(f"MT-Bench's and AlpacaEval's files are not at {folder}")
    data = {"decontaminate": {"against": ["mt-bench", "alpaca-eval"]}}
    bench, alpaca = load_lists(recipe_of(data, eval={"data_dir": str(folder)}))
    assert len(bench.texts or ()) == 160
    assert len(alpaca.texts or ()) == 805
    index = Index((bench, alpaca), ngram=13)
    for item in (bench, alpaca):
        for text in item.texts or ():
            found = index.find(row(f"  {text.upper()} "))
            assert found is not None
            assert words(found.prompt) == words(text) or found.how != "same words"


HUMAN_EVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def add_up(values):\n    """ Add up the values, but leave out every third of '
    "them and\n    return zero where nothing is left.\n    >>> add_up([1, 2, 3])\n    3\n"
    '    """\n',
    "canonical_solution": "    return sum(v for i, v in enumerate(values, 1) if i % 3)\n",
    "test": "def check(candidate): ...",
}


def test_human_eval_is_found_by_docstring_and_by_whole_solution(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    path = tmp_path / "HumanEval.jsonl.gz"
    plain = HUMAN_EVAL | {"canonical_solution": "    return x + y\n"}
    content = "".join(json.dumps(line) + "\n" for line in (HUMAN_EVAL, plain))
    path.write_bytes(gzip.compress(content.encode(), mtime=0))
    (found,) = load_lists(recipe_of({"decontaminate": {"against": [str(path)]}}))
    assert found.solutions == (HUMAN_EVAL["canonical_solution"].strip(),)
    index = Index([found], ngram=13)
    copied = index.find(row("Code?", "# Add up the VALUES but leave out every third of them and\n"
                                     "# return zero ..."))  # fmt: skip
    assert copied is not None
    assert copied.how == "13 words in a row"
    solved = index.find(row("Code?", "```\n  RETURN sum(v  for i, v in\nenumerate(values, 1) "
                                     "if i % 3)\n```"))  # fmt: skip
    assert solved == Match(found.name, found.solutions[0], "the whole solution")
    other = "return sum(v for i, v in enumerate(values, 1) if i % 2)"
    assert index.find(row("Code?", other)) is None
    assert index.find(row("Code?", "def add(x, y):\n    return x + y")) is None


def test_last_of_several_docstrings_is_the_task() -> None:
    assert docstring('def h():\n  """Helper."""\ndef f():\n  """ The task. """\n') == "The task."
    assert docstring("def f():\n  '''Task.'''\n") == "Task."


def test_truthful_qa_is_read_by_its_question_column(tmp_path: Path) -> None:
    path = tmp_path / "TruthfulQA.csv"
    path.write_text('Type,Category,Question,Best Answer\nA,B,"Is it so, or not?",No\n')
    assert list(read_questions(path)) == ["Is it so, or not?"]


def test_lists_travel_to_other_processes() -> None:
    lists = [QuestionList("b", "here", (QUESTION,), ("return 1 + 2 + 3",))]
    assert pickle.loads(pickle.dumps(lists)) == lists


def test_required_list_that_is_absent_ends_with_exit_5(recipe_of: Callable[..., Recipe]) -> None:
    data = {"decontaminate": {"against": ["mt-bench"], "required": True}}
    with pytest.raises(NetworkError, match="cannot be checked against: mt-bench") as caught:
        load_lists(recipe_of(data))
    assert caught.value.exit_code == 5


def test_fetched_questions_are_found_without_a_folder_of_ones_own(
    recipe_of: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    recipe = recipe_of({"decontaminate": {"against": ["mt-bench", "alpaca-eval"]}})
    bench, alpaca = load_lists(recipe)
    assert (bench.texts, alpaca.texts) == (None, None)
    assert "zephyrctl eval fetch alpaca-eval" in alpaca.place
    folder = tmp_path / "cache" / "benchmarks" / "mt_bench"
    folder.mkdir(parents=True)
    (folder / "question.jsonl").write_text('{"turns": ["One?", "Two?"]}\n')
    bench, alpaca = load_lists(recipe)
    assert (bench.texts, bench.place) == (("One?", "Two?"), str(folder))
    assert alpaca.texts is None
