"""What the strict reader takes, refuses, and where it says a key stands."""

import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyrctl.config import yaml as strict
from zephyrctl.config.explain import inline
from zephyrctl.errors import ConfigError


def read(text: str) -> dict:
    return strict.read_yaml(text, label="f.yaml").values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("-3", -3),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("", None),
        ("null", None),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("1.2.3", "1.2.3"),
        ("[a, 1, {b: 2.0}]", ["a", 1, {"b": 2.0}]),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    found = read(f"key: {text}")["key"]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence", "where"),
    [
        ("a: 012", "'012' has a leading zero; write '12'", "f.yaml:1:4"),
        ("a: " + "9" * 50, "a number of 50 digits; at most 40 are read", "f.yaml:1:4"),
        ("a: 1\nb: 2\na: 3", "'a' stands twice; it is also on line 1", "f.yaml:3:1"),
        ("a: &x 1", "anchors (&x) are not read; write the value out", "f.yaml:1:4"),
        ("a: *x", "aliases (*x) are not read; write the value out", "f.yaml:1:4"),
        ("a: !!str 1", "tags (tag:yaml.org,2002:str) are not read; remove it", "f.yaml:1:4"),
        ("a: !!python/name:os.system 1", None, "f.yaml:1:4"),
        ("<<: {a: 1}", "merge keys (<<) are not read; use 'extends' or write it out", "f.yaml:1:1"),
        ("[1]: 2", "a key is a word, not a list or mapping", "f.yaml:1:1"),
        ("- 1", "the file holds a list; a configuration is a mapping of keys to values", None),
        ("word", None, "f.yaml:1:1"),
        ("a: 1\n---\nb: 2", "a second document starts here; one file holds one", "f.yaml:2:1"),
        ("a:\n\tb: 1", "not valid YAML: a tab indents this line", "f.yaml:2:1"),
        ("a: [1, 2\nb: 3", None, "f.yaml:2:2"),
        ("a: 'x", None, None),
        ("a: b: c", None, "f.yaml:1:5"),
        ("a: \x07", "a control character that YAML does not allow", "f.yaml:1:4"),
    ],
)
def test_traps_are_refused_with_their_place(text, sentence, where):
    with pytest.raises(ConfigError) as caught:
        read(text)

    if sentence is not None:
        assert caught.value.message == sentence
    if where is not None:
        assert caught.value.where == where


def test_every_key_and_list_item_has_a_place():
    text = "sft:\n  filters:\n    - a\n    - {b: 1}\n"

    places = strict.read_yaml(text, label="z.yaml").places

    assert places[("sft",)] == "z.yaml:1:1"
    assert places[("sft", "filters")] == "z.yaml:2:3"
    assert places[("sft", "filters", 1)] == "z.yaml:4:7"
    assert places[("sft", "filters", 1, "b")] == "z.yaml:4:8"


def test_deep_nesting_is_refused_before_python_runs_out_of_stack():
    text = "a: " + "[" * (sys.getrecursionlimit() * 3)

    with pytest.raises(ConfigError, match="nested deeper than 64 levels"):
        read(text)


def test_aliases_that_would_expand_to_gigabytes_are_refused_unexpanded():
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))

    with pytest.raises(ConfigError) as caught:
        read(f"l0: &l0 [x]\n{levels}")

    assert "are not read" in caught.value.message


def test_all_problems_of_one_file_are_reported():
    with pytest.raises(ConfigError) as caught:
        read("a: 012\nb: &x 1\nb: 2\n")

    assert [problem.where for problem in caught.value.problems] == [
        "f.yaml:1:4",
        "f.yaml:2:4",
        "f.yaml:3:1",
    ]


def test_a_byte_order_mark_and_an_empty_file_are_fine(tmp_path):
    marked, empty = tmp_path / "marked.yaml", tmp_path / "empty.yaml"
    marked.write_bytes(b"\xef\xbb\xbfseed: 1\n")
    empty.write_text("# nothing\n")

    assert strict.read_file(marked, label="m").values == {"seed": 1}
    assert strict.read_file(empty, label="e").values == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfea\x00", "not UTF-8 text (byte 0)"),
        (b"name: \xff", "not UTF-8 text (byte 6)"),
        (b"#" * 1_000_001, "the file has 1,000,001 bytes; a configuration has at most 1,000,000"),
    ],
)
def test_files_that_are_no_text_of_reasonable_size_are_refused(tmp_path, content, sentence):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        strict.read_file(path, label="x.yaml")

    assert caught.value.message == sentence


def test_toml_is_read_by_its_suffix(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("seed = 3\n[sft]\nlearning_rate = 2e-5\n")

    assert strict.read_file(path, label="x.toml").values == {
        "seed": 3,
        "sft": {"learning_rate": 2e-5},
    }


def test_broken_toml_is_located(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("seed = 3\nsft = \n")

    with pytest.raises(ConfigError) as caught:
        strict.read_file(path, label="x.toml")

    assert caught.value.message == "not valid TOML: Invalid value"
    assert caught.value.where == "x.toml:2:7"


def test_the_pure_reader_agrees_with_libyaml(monkeypatch):
    text = "a: 1\nb: [x, 'y', 2e-5]\nc: {d: null, e: \"yes\"}\nf: |\n  two\n  lines\n"
    fast = strict.read_yaml(text, label="f")
    monkeypatch.setattr(strict, "_READER", yaml.SafeLoader)

    assert strict.read_yaml(text, label="f") == fast


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
    | st.sampled_from(["yes", "012", "1e5", "~", "null", "true", "0x1", "a: b", "# c", "-", "@x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_values)
def test_what_we_write_on_one_line_is_read_back_the_same(value):
    assert read(f"key: {inline(value)}")["key"] == value
