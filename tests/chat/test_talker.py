"""Local and remote models behind one interface, and the one-shot answers built on it."""

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chat.talkers import Scripted, Words
from tests.fakes import FakeEndpoint

from zephyrctl import terminal
from zephyrctl.chat import oneshot
from zephyrctl.chat.talker import LocalTalker, Talker, open_endpoint, open_local
from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import CredentialsError, DataError, NetworkError, UsageError
from zephyrctl.generation.endpoint import models_at
from zephyrctl.generation.sampling import Completion, Sampling
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


def test_another_tokenizer_than_the_trained_one_is_said(tiny_base: Path, tmp_path: Path) -> None:
    folder = trained(tiny_base, tmp_path / "sft")
    load_tokenizer(str(folder)).save_pretrained(str(folder))  # the same one in the same words
    assert open_local(reference(folder), recipe=Recipe(), device="cpu").notices == []
    path = folder / "tokenizer.json"
    words = json.loads(path.read_text())
    table = words["model"]["vocab"]
    table["Mia"], table["Ravi"] = table.get("Ravi", 7), table.get("Mia", 8)
    path.write_text(json.dumps(words))
    notices = open_local(reference(folder), recipe=Recipe(), device="cpu").notices
    assert any("tokenizer.json is not that of training" in text for text in notices)


def test_an_endpoint_counts_no_tokens_and_shows_no_template() -> None:
    with FakeEndpoint() as server:
        talker = open_endpoint(server.spec)
        assert talker.count(HELLO) is None
        with pytest.raises(DataError, match="its own template"):
            talker.rendered(HELLO)


def test_a_name_that_the_service_does_not_list_is_told() -> None:
    with FakeEndpoint() as server:
        unknown, known = open_endpoint(f"{server.spec}x"), open_endpoint(server.spec)
        assert (unknown.context, known.context) == (None, None)
    assert unknown.notices == ["the service lists no model 'fakex'; it lists fake"]
    assert known.notices == []


def streamed(server: FakeEndpoint) -> Completion:
    reply = open_endpoint(server.spec).reply(HELLO, sampling=GREEDY, stop=lambda: False)
    assert "".join(reply).strip() == reply.completion.text
    return reply.completion


def test_a_streamed_reply_has_the_services_own_count_of_tokens() -> None:
    with FakeEndpoint(usage=lambda messages, text: (41, 17)) as server:
        completion = streamed(server)
    assert (completion.prompt_tokens, completion.tokens) == (41, 17)
    assert completion.stopped
    assert completion.first_s is not None
    assert completion.first_s <= completion.seconds


def test_a_service_that_takes_no_stream_options_is_counted_by_pieces() -> None:
    with FakeEndpoint(refuses=["stream_options"]) as server:
        completion = streamed(server)
        bodies = [body for _, body in server.requests]
    assert completion.prompt_tokens == 0
    assert completion.tokens > 0
    assert ["stream_options" in body for body in bodies] == [True, False]


@pytest.mark.parametrize("fault", ["bad_json", "cut", "drop", "500", "error"])
def test_a_garbled_stream_is_one_error(fault: str) -> None:
    with FakeEndpoint(always=fault) as server, pytest.raises(NetworkError, match="did not answer"):
        streamed(server)


def test_a_wrong_key_is_one_error_that_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    refused = pytest.raises(CredentialsError, match="refused the key")
    with FakeEndpoint(key="sk-other") as server, refused as caught:
        streamed(server)
    assert "sk-mine" not in f"{caught.value} {caught.value.hint}"


def test_an_address_where_nobody_listens_is_one_error() -> None:
    with FakeEndpoint() as server:
        gone = server.spec
    reply = open_endpoint(gone).reply(HELLO, sampling=GREEDY, stop=lambda: False)
    with pytest.raises(NetworkError, match="no service answers at this address") as caught:
        list(reply)
    port = gone.split(":")[2].split("/")[0]
    assert caught.value.hint == f"zephyrctl serve @dpo --port {port}"
    with pytest.raises(NetworkError, match="no service answers") as caught:
        models_at(f"http://127.0.0.1:{port}")
    assert f"   or http://127.0.0.1:{port}/v1, as most" in (caught.value.hint or "")


def test_a_talker_says_how_it_is_opened_again_and_what_it_takes(local: LocalTalker) -> None:
    assert local.ref_name == local.engine.path
    numbers = sum(weight.numel() for weight in local.engine.model.parameters())
    assert local.weight_bytes == 4 * numbers
    with FakeEndpoint() as server:
        talker = open_endpoint(server.spec)
        assert talker.ref_name == server.spec
        assert talker.weight_bytes is None
        talker.close()


def test_a_closed_talker_lets_go_of_its_weights(tiny_base: Path) -> None:
    talker = open_local(reference(tiny_base), recipe=Recipe(), device="cpu")
    weights = weakref.ref(talker.engine.model)
    talker.close()
    assert weights() is None


def test_an_empty_prompt_is_refused(local: LocalTalker) -> None:
    with pytest.raises(UsageError, match="empty"):
        oneshot.as_record(local, " \n", system=None, sampling=GREEDY)


class Cut(Scripted):
    """Replies with one word of three."""

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Words:
        return Words("one two three", lambda: True)


@pytest.mark.parametrize(
    ("context", "says"), [(60, "(cut at 1 tokens: --max-new-tokens)"), (6, "the context is full")]
)
def test_a_reply_that_is_cut_says_what_cut_it(
    context: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talker = Cut()
    talker.context = context
    oneshot.to_stdout(talker, "hi", system=None, sampling=Sampling(max_new_tokens=1))
    assert says in capsys.readouterr().err
