"""Whatever stands in a file, the answer is a recipe or a list of plain problems."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from zephyrctl.config.fields import all_fields
from zephyrctl.config.layers import load
from zephyrctl.config.messages import validate
from zephyrctl.config.schema import Recipe
from zephyrctl.config.yaml import read_yaml
from zephyrctl.errors import ConfigError, Problem

_PARTS = {part for path in all_fields() for part in path.split(".")}
_WORDS = [*sorted(_PARTS), "x", "", "a.b", "0"]
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["lora", "sigmoid", "dedup", "length", "all", "auto", "./x", "sft"])
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4)
        | st.fixed_dictionaries({"name": st.sampled_from(["dedup", "length", "x"])})
    ),
    max_leaves=12,
)
_SECTIONS = st.dictionaries(st.sampled_from(list(Recipe.model_fields)), _TREES, max_size=4)


@settings(max_examples=300, deadline=None)
@given(_SECTIONS)
def test_any_tree_of_values_is_a_recipe_or_a_list_of_plain_problems(values):
    recipe, problems = validate(values, place=lambda _path: None)

    assert (recipe is None) == bool(problems)
    for problem in problems:
        assert "Input should" not in problem.message
        assert "errors.pydantic.dev" not in problem.message
        assert len(problem.message) < 700


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_mapping_or_a_located_config_error(text):
    found = problems_of(lambda: read_yaml(text, label="f"))

    assert all(problem.where is not None for problem in found)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(all_fields())), st.text(max_size=12))
def test_any_value_on_the_command_line_is_taken_or_refused_at_its_place(key, value):
    found = problems_of(lambda: load(sets=[f"{key}={value}"], env={}, recipe="tiny"))

    assert all((problem.where or "").startswith("--set") for problem in found)


def problems_of(action: Callable[[], object]) -> tuple[Problem, ...]:
    """The problems of a ConfigError; every other exception goes through."""
    try:
        action()
    except ConfigError as error:
        return error.problems
    return ()
