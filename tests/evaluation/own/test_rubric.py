"""Judge prompts written in Jinja."""

import pytest

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.own.questions import OwnQuestion
from zephyrctl.evaluation.own.rubric import compile_rubric, read_rubric, require_usable

QUESTION = OwnQuestion("q", "sums", ("What is 2+2?", "Twice that?"), ("4", "8"))
PLAIN = OwnQuestion("p", "general", ("Say hi.",))
ALL = (
    "{{ question }}/{{ turn }}/{{ turns | length }}/{{ answer }}/{{ answers | join('+') }}/"
    "{{ reference }}/{{ references | join('+') }}/{{ category }}/"
    "{% for m in conversation %}{{ m.role }}:{{ m.content }};{% endfor %}"
)


def test_a_rubric_sees_the_turn_and_what_was_before_it():
    rubric = compile_rubric(ALL, name="mine.jinja")
    assert rubric.render(QUESTION, ["4"]) == (
        "What is 2+2?/1/1/4/4/4/4/sums/user:What is 2+2?;assistant:4;"
    )
    assert rubric.render(QUESTION, ["4", "eight"]) == (
        "Twice that?/2/2/eight/4+eight/8/4+8/sums/"
        "user:What is 2+2?;assistant:4;user:Twice that?;assistant:eight;"
    )
    assert rubric.render(PLAIN, ["hi"]) == "Say hi./1/1/hi/hi///general/user:Say hi.;assistant:hi;"


def test_the_packaged_rubric_serves_every_kind_of_question():
    rubric = read_rubric(None)
    require_usable(rubric, [QUESTION, PLAIN], in_brackets=True)
    with_reference = rubric.render(QUESTION, ["four", "nine"])
    assert "\n8\n" in with_reference
    assert "nine" in with_reference
    assert "[[6]]" in with_reference
    assert "correct answer" not in rubric.render(PLAIN, ["hi"])


def test_an_answer_is_no_template():
    rubric = compile_rubric("{{ answer }}", name="mine.jinja")
    assert rubric.render(PLAIN, ["{{ 7 * 7 }} {% raw %}"]) == "{{ 7 * 7 }} {% raw %}"


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("one\n{% if %}", "no Jinja template", 2),
        ("one\n{{ anser }}", "'anser' is undefined", 2),
        ("one\ntwo\n{{ answer.words }}", "no attribute 'words'", 3),
        ("{{ ''.__class__.__mro__ }}", "unsafe", 1),
        ("{{ turns.append('x') }}", "append", 1),
        ("{% include 'other' %}", "loader", 1),
        ("\n\n{{ 1 / 0 }}", "division by zero", 3),
    ],
)
def test_a_rubric_that_fails_is_named_with_its_line(source, message, line):
    with pytest.raises(DataError, match=message) as caught:
        require_usable(compile_rubric(source, name="mine.jinja"), [PLAIN], in_brackets=True)
    assert caught.value.where == f"mine.jinja:{line}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Rate it: [[5]]", "leaves the answer out"),
        ("{{ answer }} Rate it.", "how to write its rating"),
        ("{% if turn == 1 %}{{ answer }} [[5]]{% else %}[[5]]{% endif %}", "question q, turn 2"),
    ],
)
def test_a_rubric_that_could_not_serve_is_refused_before_anything_is_asked(source, message):
    rubric = compile_rubric(source, name="mine.jinja")
    with pytest.raises(DataError, match=message):
        require_usable(rubric, [PLAIN, QUESTION], in_brackets=True)


def test_an_empty_rubric_is_refused():
    with pytest.raises(DataError, match="empty"):
        compile_rubric(" \n", name="mine.jinja")


def test_brackets_are_not_wanted_where_probabilities_are_read():
    rubric = compile_rubric("{{ answer }} Rate it.", name="mine.jinja")
    require_usable(rubric, [PLAIN], in_brackets=False)


def test_a_rubric_without_end_is_stopped():
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}" + "x" * 99
    rubric = compile_rubric(f"{loops}{{% endfor %}}{{% endfor %}}", name="mine.jinja")
    with pytest.raises(DataError, match="come to an end"):
        rubric.render(PLAIN, ["hi"])


def test_an_absent_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_rubric(tmp_path / "none.jinja")
