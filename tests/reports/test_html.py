"""The report is one safe file: nothing loaded, nothing run, foreign text as text."""

import html.parser
import json
import os
from pathlib import Path

import pytest
from tests.reports.run_files import (
    ACCOUNT,
    HOSTILE,
    finish_stage,
    make_run,
    write_training,
)

from zephyrctl.cli.app import main
from zephyrctl.reports.html import write_report
from zephyrctl.reports.svg import Curve, line_chart, nice_ticks, thin
from zephyrctl.runs.atomic import append_jsonl, write_json, write_text
from zephyrctl.runs.store import Run

VOID = {"meta", "br", "img", "link", "input", "hr"}
SELF_CLOSED = {"line", "rect", "circle", "polyline"}


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert tag in SELF_CLOSED

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not (self._open and self._open[-1] == "style"):
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def joined(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def page(full_run: Run) -> Page:
    return Page(write_report(full_run))


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "srcset", "action", "xlink:href", "data"):
                assert (value or "").startswith("#"), (tag, name, value)
            if name == "style":
                assert "url(" not in (value or "")


def test_the_policy_forbids_everything_but_inline_style(page: Page) -> None:
    policies = [
        a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_hostile_text_is_text(page: Page) -> None:
    shown = HOSTILE.partition("\x1b")[0].strip()
    joined = page.joined()
    # An answer, a question, a removed row, a notice, and a comment of the configuration.
    for start in ("base says 3 ", "Question 3? ", "d.jsonl:3 ", "NOT CHECKED ", "name: demo # "):
        assert start + shown in joined, start
    assert "\x1b" not in joined


def test_the_page_is_small_and_the_same_every_time(full_run: Run) -> None:
    path = write_report(full_run)
    first = path.read_bytes()
    assert len(first) < 300_000
    assert write_report(full_run).read_bytes() == first


def test_a_long_run_with_long_texts_stays_under_300_kilobytes(full_run: Run) -> None:
    for stage in ("sft", "dpo"):
        full_run.stage(stage).metrics_path.unlink()
        write_training(full_run, stage, steps=5000)
        for at in range(40):
            record = {"step": 0, "prompt": f"{at} " + "<&>" * 4000, "completion": "é<" * 9000}
            append_jsonl(full_run.stage(stage).samples_path, record)
    for model in ("base", "sft", "dpo"):
        path = full_run.root / "eval" / "rules" / model / "answers.jsonl"
        path.unlink()
        for at in range(10):
            append_jsonl(path, {"question_id": f"q{at}", "turn": 1, "answer": '<"&>' * 9000})
    write_text(full_run.root / "config.yaml", "key: '<value>'\n" * 9000)
    assert write_report(full_run).stat().st_size < 300_000


@pytest.mark.parametrize(("loss", "shown"), [("sigmoid", True), ("simpo", False)])
def test_a_reference_is_spoken_of_where_there_is_one(
    tmp_path: Path, loss: str, shown: bool
) -> None:
    run = make_run(tmp_path / "demo", dpo={"loss": loss})
    write_training(run, "dpo")
    text = Page(write_report(run)).joined()
    for words in ("ln 2, where policy and reference are equal", "every margin is 0"):
        assert (words in text) is shown


def test_everything_of_the_run_is_there(page: Page) -> None:
    text = page.joined()
    for words in (
        "c0ffeec0ffee", "zephyr.yaml ← recipe tiny", "CPU, 2 cores", "Test CPU · 8 GiB",
        "trl 1.16.0", "seed 42", "sft: 448 of 512 rows kept", "removed: refusal 40",
        "NOT CHECKED against mt-bench: eval.data_dir is not set", "Checked against rules",
        "gradient norm", "not the KL divergence", "learning rate",
        "before training cut at its length limit",
        "after step 60", "refusal rate", "hedging rate", "30.0 % [23.0, 37.0]",
        "+60.0 points [+45.0, +72.0]", "capitals base 30.0 % – 10 sft 60.0 % – 10 dpo 90.0 % – 10",
        "not told apart from 0", "zephyrctl run -c",
    ):  # fmt: skip
        assert words in text, words


def test_the_page_does_not_tell_where_the_data_lie(page: Page) -> None:
    assert "Source d.jsonl: 512 rows" in page.joined()
    assert "/home/someone" not in page.joined()


def test_every_curve_and_interval_is_drawn(page: Page) -> None:
    classes = [attributes.get("class") for tag, attributes in page.tags if tag == "svg"]
    # SFT: loss, token accuracy, rate, gradient. DPO: loss, accuracy, margin, logps, rate, gradient.
    assert classes.count("chart") == 4 + 6
    # Three metrics of three models, and two differences.
    assert classes.count("interval") == 3 * 3 + 2 + 3  # metrics, differences, one category


def test_questions_on_which_models_differ_come_first(page: Page) -> None:
    text = page.joined()
    # Question 0 is right for all three models, question 3 is the first that training changed.
    assert text.index("Question 3?") < text.index("Question 0?")
    assert "base fail base says 3" in text
    assert "9 words" in text
    assert "sft pass sft says 3" in text


def test_a_run_with_data_only_gives_what_it_has(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo")
    write_json(run.root / "data" / "account.json", ACCOUNT)
    finish_stage(run, "data")
    text = Page(write_report(run)).joined()
    assert "sft: 448 of 512 rows kept" in text
    assert "not run" in text
    assert "Supervised fine-tuning" not in text


def test_a_run_without_any_stage_has_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo")
    assert "no stage has finished yet" in Page(write_report(run)).joined()


def test_a_failed_stage_says_why_and_keeps_its_curves(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo")
    write_training(run, "sft", steps=60, until=30)
    with run.stage("sft").metrics_path.open("a") as stream:
        stream.write('{"t": 1, "kind": "metr')  # killed while writing
    finish_stage(run, "sft", state="failed", error={"message": f"loss is not finite {HOSTILE}"})
    page = Page(write_report(run))
    assert "loss is not finite </script>" in page.joined()
    assert any(attributes.get("class") == "chart" for _, attributes in page.tags)


def test_the_command_writes_and_names_the_page(
    full_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(full_run.root), "--json"])
    assert ended.value.code == 0
    path = full_run.root / "report.html"
    assert json.loads(capsys.readouterr().out) == {"reports": [{"run": "demo", "path": str(path)}]}
    assert path.is_file()


def test_a_run_that_is_not_there_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "nothing", "--output-root", str(tmp_path)])
    assert ended.value.code == 2
    assert "no run 'nothing'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_labels_in_svg_are_escaped() -> None:
    svg = line_chart("a<b", [Curve(label="<x>", points=[(0, 1.0), (1, 2.0)], dots=True)])
    assert "<x>" not in svg
    assert "&lt;x&gt;" in svg


def test_a_curve_without_finite_values_draws_nothing() -> None:
    assert line_chart("loss", [Curve(label="", points=[(0, float("nan"))])]) == ""


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (5e-9, 5e-7), (-310.0, -262.0), (0.69, 0.69), (0.0, 0.0)]
)
def test_ticks_enclose_the_values_and_are_few(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 8


def test_thinning_keeps_both_ends() -> None:
    points = [(float(at), float(at)) for at in range(5000)]
    kept = thin(points, most=200)
    assert len(kept) == 200
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_imported_scores_claim_no_base_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "published")
    write_json(run.root / "manifest.json", {"run": "published", "source": "import"})
    page = write_report(run).read_text(encoding="utf-8")
    assert "Scores of stored judgments, imported." in page
    assert "Base model" not in page


def test_scores_that_do_not_belong_together_are_marked(full_run: Run) -> None:
    for at, (model, digest) in enumerate([("sft", "few"), ("dpo", "all")], start=1):
        path = full_run.root / "eval" / "rules" / model / "code" / "scores.json"
        record = json.loads(path.read_text())
        write_json(path, {**record, "about": {"benchmark_digest": digest}})
        os.utime(path, (2e9 + at, 2e9 + at))
    text = write_report(full_run).read_text()
    assert "sft: scored earlier on other questions" in text
    assert "dpo: scored earlier" not in text
