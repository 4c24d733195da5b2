"""What a conversation holds, and what of it the model reads."""

import json
from pathlib import Path

import pytest

from zephyrctl.chat.saved import load, save
from zephyrctl.chat.session import Session
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, UsageError


def talk(*pairs: tuple[str, str], system: str | None = None) -> Session:
    session = Session(system)
    for question, reply in pairs:
        session.ask(question)
        session.reply(reply)
    return session


def words(messages: list[Message]) -> int:
    return sum(len(message.content.split()) for message in messages)


def test_messages_begin_with_the_system_prompt() -> None:
    session = talk(("hi", "hello"), system="be kind")
    assert [message.role for message in session.messages] == ["system", "user", "assistant"]


def test_a_question_without_a_reply_is_joined_with_the_next() -> None:
    session = Session()
    session.ask("one")
    session.reply("")
    session.ask("two")
    assert session.turns == [Message("user", "one\n\ntwo")]


def test_undo_takes_back_question_and_reply() -> None:
    session = talk(("a", "b"), ("c", "d"))
    assert session.undo() == "c"
    assert session.turns == talk(("a", "b")).turns
    session.undo()
    assert session.undo() is None


def test_a_reply_can_be_taken_back_alone() -> None:
    session = talk(("a", "b"))
    assert session.take_back_reply()
    assert session.turns == [Message("user", "a")]
    assert not Session().take_back_reply()


def test_everything_is_read_while_it_fits() -> None:
    session = talk(("a b", "c d"), system="s")
    session.ask("e")
    readable = session.readable(words, context=100, reply_tokens=10)
    assert readable.messages == session.messages
    assert (readable.left_out, readable.tokens) == (0, 6)


def test_a_full_context_leaves_the_oldest_exchanges_out_and_nothing_else() -> None:
    session = talk(("a a a a", "b b b b"), ("c c c c", "d d d d"), system="s s")
    session.ask("e e")
    readable = session.readable(words, context=16, reply_tokens=4)
    assert readable.left_out == 2
    assert [message.content for message in readable.messages] == [
        "s s", "c c c c", "d d d d", "e e",
    ]  # fmt: skip
    assert len(session.turns) == 5


def test_a_question_longer_than_the_context_is_an_error_that_says_what_to_do() -> None:
    session = talk(("a", "b"))
    session.ask("word " * 50)
    with pytest.raises(DataError, match="50 tokens") as caught:
        session.readable(words, context=20, reply_tokens=4)
    assert "/undo" in (caught.value.hint or "")


def test_the_newest_question_is_read_although_the_reply_gets_less_room() -> None:
    session = Session()
    session.ask("word " * 18)
    assert session.readable(words, context=20, reply_tokens=1000).left_out == 0


def test_a_saved_conversation_is_a_row_of_training_data_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    session = talk(("hi", "hello"), system="be kind")
    save(session, path)
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["messages"][1] == {"role": "user", "content": "hi"}
    assert load(path) == session


def test_line_separators_of_unicode_end_no_row(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    session = Session("s", [Message("user", "a\u2028b\x85c"), Message("assistant", "d\u2029e")])
    save(session, path)
    assert load(path) == session


def test_saving_never_writes_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        save(talk(("a", "b")), path)
    assert path.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["chat.jsonl"]
    with pytest.raises(UsageError, match="nothing to save"):
        save(Session(), tmp_path / "other")


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[1]", '{"messages": []}', '{"messages": [{"role": "alien", "content": "x"}]}',
     '{"messages": [{"role": "assistant", "content": "x"}]}', "[" * 100_000,
     '{"messages": [{"role": "user", "content": "\\ud800"}]}',
     '{"messages": [{"role": "user", "content": ["x"]}]}',
     '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", '
     '"tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "y"}]}'],
)  # fmt: skip
def test_a_file_without_a_conversation_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(DataError):
        load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "binary", tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError, match=path.name):
            load(path)


def test_where_tokens_cannot_be_counted_all_is_read() -> None:
    session = talk(("a " * 50, "b"))
    session.ask("c")
    readable = session.readable(lambda messages: None, context=10, reply_tokens=5)
    assert (readable.messages, readable.left_out) == (session.messages, 0)
    assert readable.tokens is None


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file/below", "x" * 300):
        with pytest.raises(UsageError, match="cannot write"):
            save(talk(("a", "b")), tmp_path / name)


def test_text_that_is_not_utf_8_is_not_asked() -> None:
    session = Session()
    with pytest.raises(UsageError, match="not UTF-8 at character 3"):
        session.ask("ab\udcff")
    assert session.turns == []


def test_a_long_conversation_is_counted_a_few_times() -> None:
    counted: list[int] = []

    def count(messages: list[Message]) -> int:
        counted.append(len(messages))
        return words(messages)

    session = talk(*[("a b", "c d")] * 500)
    session.ask("e f")
    for context in (4, 5, 20, 100, 1000, 2002):
        counted.clear()
        readable = session.readable(count, context=context, reply_tokens=1)
        assert len(counted) < 12
        assert readable.tokens is not None
        assert readable.tokens == words(readable.messages)
        assert readable.tokens + 1 <= context < readable.tokens + 1 + 4 or not readable.left_out
        assert readable.messages[-1].content == "e f"


def test_what_cannot_be_loaded_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "text").write_text("hello\n")
    for name, kind, why in (
        ("binary", UsageError, "not UTF-8 text"),
        (".", UsageError, "is a folder"),
        ("nowhere", UsageError, "no file"),
        ("text", DataError, "no conversation in the last row"),
    ):
        with pytest.raises(kind, match=why):
            load(tmp_path / name)


def test_a_loaded_role_that_there_is_not_is_named(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text('{"messages": [{"role": "human", "content": "hi"}]}\n')
    with pytest.raises(DataError, match="unknown role 'human': system, user or assistant"):
        load(file)
