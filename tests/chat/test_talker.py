"""Local and remote models behind one interface, and the one-shot answers built on it."""

import shutil
from pathlib import Path

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl import terminal
from zephyrctl.chat import oneshot
from zephyrctl.chat.talker import LocalTalker, Talker, open_endpoint, open_local
from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DataError, UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import ModelRef

HELLO = [Message("user", "Offer tea to Mia.")]
GREEDY = Sampling(max_new_tokens=10)


def reference(folder: Path) -> ModelRef:
    return ModelRef("m", "folder", str(folder))


@pytest.fixture(scope="module")
def local(tiny_base: Path) -> LocalTalker:
    return open_local(reference(tiny_base), recipe=Recipe(), device="cpu")


@pytest.mark.parametrize("where", ["local", "remote"])
def test_streamed_and_whole_replies_are_the_same(
    where: str, local: LocalTalker, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeEndpoint() as server:
        talker: Talker = local if where == "local" else open_endpoint(server.spec)
        record = oneshot.as_record(talker, HELLO[0].content, system=None, sampling=GREEDY)
        oneshot.to_stdout(talker, HELLO[0].content, system=None, sampling=GREEDY)
    assert capsys.readouterr().out.rstrip() == terminal.safe(record["reply"]).rstrip()
    assert record["reply"]
    assert record["tokens"] > 0


def test_a_base_without_a_template_gets_the_recipes_and_says_so(local: LocalTalker) -> None:
    assert any("no chat template of its own" in text for text in local.notices)
    assert local.rendered(HELLO).endswith("<|assistant|>\n")
    assert local.count(HELLO) == len(local.engine.encode(HELLO))


def trained(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    tokenizer = load_tokenizer(str(base), chat_template="zephyr")
    template_lock.write(
        folder, tokenizer=tokenizer, template="zephyr", stage="sft", base="tiny",
        base_digest="0", run="r",
    )  # fmt: skip
    return folder


def test_a_trained_model_is_spoken_to_in_its_own_template(tiny_base: Path, tmp_path: Path) -> None:
    folder = trained(tiny_base, tmp_path / "sft")
    talker = open_local(reference(folder), recipe=Recipe(), device="cpu")
    assert talker.notices == []
    assert ("template", f"zephyr {talker.engine.template_sha256[:12]}") in talker.facts


def test_another_template_than_the_trained_one_is_said(tiny_base: Path, tmp_path: Path) -> None:
    folder = trained(tiny_base, tmp_path / "sft")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|human|>") + " ")
    talker = open_local(reference(folder), recipe=Recipe(), device="cpu")
    assert any("another chat template" in text for text in talker.notices)


def test_an_endpoint_counts_no_tokens_and_shows_no_template() -> None:
    with FakeEndpoint() as server:
        talker = open_endpoint(server.spec)
        assert talker.count(HELLO) is None
        with pytest.raises(DataError, match="its own template"):
            talker.rendered(HELLO)


def test_an_empty_prompt_is_refused(local: LocalTalker) -> None:
    with pytest.raises(UsageError, match="empty"):
        oneshot.as_record(local, " \n", system=None, sampling=GREEDY)
