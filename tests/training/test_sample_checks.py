"""What a model's own answers say of its health."""

import pytest

from zephyrctl.training.sample_checks import length, measure, samples

BEFORE = [
    {"completion": "Paris is the capital.", "stopped": True},
    {"completion": "Rome is the capital.", "stopped": True},
    {"completion": "Bern is the capital.", "stopped": True},
]


def row(text: str, *, stopped: bool = True) -> dict[str, object]:
    return {"completion": text, "stopped": stopped}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([row(""), row(" "), row("Yes.")], "2 of 3 sample answers are empty"),
        ([row("I am.")] * 3, "the same text"),
        ([row("Dear dear dear " * 20), row("My dear " * 20), row("No.")], "repeat themselves"),
        ([row("A", stopped=False), row("B", stopped=False), row("C")], "only 1 of 3"),
        ([row("Hm. <|user|>\nAnd?"), row("<|assistant|> Yes"), row("C")], "role marker"),
        ([row("I'm sorry, but I can't help with that."), row("As an AI language model, I am."),
          row("C")], "refuse or disclaim"),
        ([row("so it is. and more. then end."), row("no. never again. it is so."), row("C")],
         "in lower case"),
        ([row("Paris."), row("Rome."), row("Bern.")], None),
        ([row("Paris. I'm sorry, it rains."), row("Rome."), row("As <user> says.")], None),
    ],
)  # fmt: skip
def test_collapse_of_sample_answers(answers: list[dict[str, object]], words: str | None) -> None:
    found = samples(measure(answers), measure(BEFORE), share_done=1.0)
    alarms = [check.text for check in found if check.state == "warn"]
    assert any(words in text for text in alarms) if words else not alarms


def test_a_base_model_that_already_repeats_and_never_ends_is_no_alarm() -> None:
    looping = measure([row("Dear " * 30, stopped=False)] * 2)
    assert all(check.state == "pass" for check in samples(looping, looping, share_done=1.0))
    assert all(check.state == "pass" for check in samples(looping, None, share_done=1.0))


def test_markers_in_the_first_half_may_be_the_base_models() -> None:
    leaking = measure([row("<|user|>"), row("<|user|> a")])
    early = samples(leaking, measure(BEFORE), share_done=0.1)
    assert not any("marker" in check.text for check in early)


def test_one_odd_answer_of_four_is_no_alarm() -> None:
    now = measure([row("I'm sorry, but I can't help with that."), row("A."), row("B."), row("C.")])
    assert all(check.state == "pass" for check in samples(now, measure(BEFORE), share_done=1.0))


def test_answers_of_another_length_than_before() -> None:
    long, short = measure([row("word " * 100 + str(n)) for n in range(3)]), measure(BEFORE)
    grown = length(long, short)
    assert grown is not None
    assert grown.state == "warn"
    same = length(short, short)
    assert same is not None
    assert same.state == "pass"
    assert length(measure(BEFORE[:1]), short) is None
