"""A judge behind a service that fails in every way, whose client is killed in between."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.config.layers import load
from zephyrctl.errors import CredentialsError, DataError, StoppedEarly
from zephyrctl.evaluation.benchmark import Judgment
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.judges.remote import RemoteJudge
from zephyrctl.evaluation.judging import judged, key_of
from zephyrctl.evaluation.prices import Price
from zephyrctl.evaluation.spending import Meter
from zephyrctl.runs.atomic import read_jsonl

ROOT = Path(__file__).parents[3]
COUNT = 640
SHARES = {
    "429": 0.04, "500": 0.05, "503": 0.01, "drop": 0.03, "cut": 0.02, "truncated": 0.03,
    "empty": 0.03, "error": 0.01, "slow": 0.01, "drip": 0.01,
}  # fmt: skip
"""How often the server fails in each way."""


def requests(count: int = COUNT) -> list[JudgeRequest]:
    return [JudgeRequest(n, 1, "single", "Judge.", f"answer {n}", ("m",)) for n in range(count)]


def opinion(messages: list[dict[str, str]]) -> str:
    """A rating that depends on the answer alone; of some the judge speaks in another language."""
    number = int(messages[-1]["content"].split()[1])
    if number % 23 == 0:
        return f"这个回答很好，评分：{number % 10}分"
    return f"It is good. Rating: [[{number % 10 + 1}]]"


def often_failing(seed: int) -> Any:
    rng = random.Random(seed)
    kinds, weights = ["ok", *SHARES], [1 - sum(SHARES.values()), *SHARES.values()]
    plan = rng.choices(kinds, weights, k=4 * COUNT)
    return lambda number: plan[number]


def open_judge(spec: str, folder: Path, **settings: Any) -> RemoteJudge:
    given = {"spec": spec, "deadline_s": 60.0, "concurrency": 64, **settings}
    flags = {f"eval.judge.{name}": value for name, value in given.items()}
    judge = RemoteJudge(load(flags=flags, env={}, cwd=folder).recipe)
    judge._endpoint.patience = replace(judge._endpoint.patience, first_s=0.01)
    return judge


def row(index: int, reply: JudgeReply) -> Judgment:
    found = re.search(r"\[\[(\d+)\]\]", reply.text)
    return {"question_id": index, "judgment": reply.text, "score": int(found[1]) if found else -1}


def work(spec: str, path: str, count: int = COUNT) -> list[Judgment]:
    """What a child process does: judge everything that is missing."""
    return judged(
        open_judge(spec, Path(path).parent, timeout_s=1.0),
        requests(count),
        path=Path(path),
        make_row=row,
        on_done=lambda done, total: None,
    )


def start(spec: str, path: Path) -> subprocess.Popen[bytes]:
    code = f"from tests.evaluation.judges.test_remote import work; work({spec!r}, {str(path)!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)


def kill_after(child: subprocess.Popen[bytes], path: Path, *, lines: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= lines):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def rows_of(path: Path) -> dict[str, Judgment]:
    """Rows by key, of which there is one each."""
    rows = read_jsonl(path)
    assert max(Counter(row["key"] for row in rows).values()) == 1
    return {row["key"]: row for row in rows}


def test_every_fault_and_a_kill_change_nothing(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm" / "j.jsonl", tmp_path / "rough" / "j.jsonl"
    calm.parent.mkdir()
    rough.parent.mkdir()
    with FakeEndpoint(answer=opinion, delay_s=0.005) as server:
        port, spec = server.port, server.spec
        expected = work(spec, str(calm))
    assert len(expected) == COUNT
    with FakeEndpoint(
        answer=opinion, delay_s=0.005, fault_of=often_failing(7), retry_after="0.05", port=port
    ) as server:
        kill_after(start(spec, rough), rough, lines=200)
        survived = rough.read_bytes()
        kept = {f"answer {row['question_id']}" for row in read_jsonl(rough)}
        before = len(server.requests)
        assert start(spec, rough).wait(60) == 0
        asked = [body["messages"][-1]["content"] for _, body in server.requests]
    assert rough.read_bytes().startswith(survived[: survived.rfind(b"\n") + 1])
    assert rows_of(rough) == rows_of(calm)
    assert set(asked) == {f"answer {n}" for n in range(COUNT)}
    assert not kept & set(asked[before:])
    scores = Counter(row["score"] for row in expected)
    assert scores[-1] == len(range(0, COUNT, 23))


def test_a_second_run_asks_for_nothing(tmp_path: Path) -> None:
    with FakeEndpoint(answer=opinion) as server:
        first = work(server.spec, str(tmp_path / "j.jsonl"), 30)
        again = work(server.spec, str(tmp_path / "j.jsonl"), 30)
    assert first == again
    assert server.answered == 30


def test_a_refused_key_keeps_what_is_judged_and_the_next_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with FakeEndpoint(answer=opinion, fault_of=lambda n: "ok" if n < 40 else "401") as server:
        with pytest.raises(CredentialsError):
            work(server.spec, str(path), 200)
        kept = len(read_jsonl(path))
        server.fault_of = None
        work(server.spec, str(path), 200)
    assert 0 < kept <= 40
    assert len(rows_of(path)) == 200


def test_what_a_request_says_is_sent(tmp_path: Path) -> None:
    request = JudgeRequest(
        1, 1, "weighted", "", "Which?", max_tokens=1, temperature=1.0, top_logprobs=5
    )
    replies: list[JudgeReply] = []
    with FakeEndpoint(answer=lambda _: "m", logprobs={"m": -0.2, "M": -1.7}) as server:
        judge = open_judge(server.spec, tmp_path)
        judge.decide([request, *requests(1)], on_reply=lambda index, reply: replies.append(reply))
    bodies = [body for _, body in server.requests]
    first = next(body for body in bodies if "logprobs" in body)
    assert first == {
        "model": "fake", "messages": [{"role": "user", "content": "Which?"}], "max_tokens": 1,
        "temperature": 1.0, "logprobs": True, "top_logprobs": 5,
    }  # fmt: skip
    assert [body["max_tokens"] for body in bodies if "logprobs" not in body] == [2048]
    assert JudgeReply("m", {"m": -0.2, "M": -1.7}, 7, 1, "stop") in replies


def test_the_identity_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    with FakeEndpoint(key="sk-secret", answer=opinion) as server:
        judge = open_judge(server.spec, tmp_path, api_key_file=str(tmp_path / "key"))
        judge.decide(requests(1), on_reply=lambda *_: None)
        other = open_judge(server.spec, tmp_path, max_tokens=9)
    assert "sk-secret" not in json.dumps(dict(judge.identity)) + judge.name + repr(vars(judge))
    assert judge.identity != other.identity


def test_a_meter_is_asked_before_and_told_after(tmp_path: Path) -> None:
    """Each request is reserved at its worst: 2,048 tokens at 1 USD for each thousand."""
    meter = Meter(Price(0.0, 1000.0, "2026-01-01"), max_cost=3 * 2.048, max_tokens=2048)
    kept: list[int] = []
    with FakeEndpoint(answer=opinion, delay_s=0.1) as server:
        judge = open_judge(server.spec, tmp_path)
        judge.meter = meter
        with pytest.raises(StoppedEarly):
            judge.decide(requests(), on_reply=lambda index, _: kept.append(index))
    assert len(kept) == server.answered == meter.calls == 3
    assert meter.completion_tokens == 1 + 5 + 5


def test_a_try_that_may_be_billed_is_told_and_an_error_of_the_service_is_not(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(answer=opinion, faults=["429", "truncated", "500", "drop", "ok"]) as server:
        judge = open_judge(server.spec, tmp_path)
        judge.meter = Meter(Price(1.0, 1.0, "test"), max_cost=None, max_tokens=8)
        judge.decide(requests(1), on_reply=lambda index, reply: None)
    assert judge.meter.calls == 1
    assert judge.meter.lost_tries == 2


def test_a_request_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with (
        FakeEndpoint(always="long") as server,
        pytest.raises(DataError, match="does not fit") as caught,
    ):
        open_judge(server.spec, tmp_path).decide(requests(1), on_reply=lambda *_: None)
    assert "question 0, turn 1 of m" in str(caught.value.where)


def test_what_the_judge_does_not_take_is_said(tmp_path: Path) -> None:
    with FakeEndpoint(refuses=["temperature", "max_tokens"], answer=opinion) as server:
        judge = open_judge(server.spec, tmp_path)
        judge.decide(requests(100), on_reply=lambda *_: None)
    assert judge.notices == ["fake samples at a temperature of its own"]
    assert len(server.requests) == 102


def test_one_model_at_two_services_is_two_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Resellers have given 8.04 and 6.83 to the same answers under one model's name.
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    found = []
    for base in ("https://api.openai.com/v1", "https://reseller.example/v1/"):
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        judge = RemoteJudge(
            load(flags={"eval.judge.spec": "openai:m"}, env={}, cwd=tmp_path).recipe
        )
        found.append(key_of(judge, requests(1)[0]))
    assert found[0] != found[1]
    monkeypatch.delenv("OPENAI_BASE_URL")
    judge = RemoteJudge(load(flags={"eval.judge.spec": "openai:m"}, env={}, cwd=tmp_path).recipe)
    assert key_of(judge, requests(1)[0]) == found[0]
