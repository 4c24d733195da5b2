"""How is a run told on one page that can be sent to somebody? (`RUN/report.html`)

One file without scripts and without anything loaded from elsewhere. All text of models, data and
users is escaped by the template; only the SVG of `reports.svg` and our own CSS are markup. The
same run folder always gives the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from zephyrctl import __version__
from zephyrctl.errors import quoted
from zephyrctl.reports import scoreboard
from zephyrctl.reports.account import Account, Checked, StagePart, read_account
from zephyrctl.reports.answers import side_by_side
from zephyrctl.reports.histogram import length_histogram
from zephyrctl.reports.numbers import duration
from zephyrctl.reports.panels import Panel, Talk, build_panel
from zephyrctl.reports.provenance import device_words, memory_words
from zephyrctl.runs.atomic import clear_leftovers, write_text
from zephyrctl.runs.stage_record import Manifest
from zephyrctl.runs.store import STAGES, Run
from zephyrctl.runs.summary import summarize
from zephyrctl.terminal import safe

MOST_BYTES = 300_000
_TEXT_LIMITS = (1200, 500, 200, 60)
"""Characters of a prompt or answer: as many as the page's size allows. A cut is marked."""
_CONFIG_SHARE = 30
"""The configuration may be this many times as long as an answer."""
_MOST_NOTICES = 40
_MOST_MATCHES = 20
_MARKUP = ("svg", "bar")
"""Fields that hold SVG made by `reports.svg`."""


@dataclass(frozen=True)
class StageFacts:
    """One stage in the strip at the top."""

    name: str
    state_class: str
    words: str
    error: str


@dataclass(frozen=True)
class DataRow:
    """What became of some rows; `share` is the length of the bar in percent."""

    label: str
    rows: int
    share: str
    css: str


@dataclass(frozen=True)
class LengthChart:
    """The histogram of one split's tokens, and its numbers."""

    title: str
    svg: str
    words: str


@dataclass(frozen=True)
class DataPart:
    """The rows of one stage."""

    stage: str
    rows_in: int
    kept: int
    rows: tuple[DataRow, ...]
    charts: tuple[LengthChart, ...]
    remarks: tuple[str, ...]
    examples: tuple[tuple[str, str, str], ...]
    matches: tuple[tuple[str, str], ...]
    more_matches: int


@dataclass(frozen=True)
class Report:
    """Everything on the page; the names are those of the template."""

    name: str
    lede: str
    stages: tuple[StageFacts, ...]
    facts: tuple[tuple[str, str], ...]
    contents: tuple[tuple[str, str], ...]
    tiles: tuple[scoreboard.Tile, ...]
    groups: tuple[scoreboard.Group, ...]
    panels: tuple[Panel, ...]
    answers: tuple[Talk, ...]
    answers_note: str
    data: tuple[DataPart, ...]
    checked: tuple[Checked, ...]
    not_checked: tuple[Checked, ...]
    notices: tuple[tuple[str, str], ...]
    command: str
    reproduce_note: str
    config: str
    versions: tuple[tuple[str, str], ...]
    made_by: str


def write_report(run: Run) -> Path:
    """Write RUN/report.html from what the run folder holds; an unfinished run gives what it has."""
    report = build_report(run)
    page = ""
    for limit in _TEXT_LIMITS:
        page = render(report, longest_text=limit)
        if len(page.encode("utf-8")) < MOST_BYTES:
            break
    path = run.root / "report.html"
    clear_leftovers(path)
    write_text(path, page)
    return path


def render(report: Report, *, longest_text: int) -> str:
    """The page as HTML; longer texts are cut, with a mark of how much is missing."""
    # Jinja costs 0.09 s at import; only this command needs it.
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("zephyrctl.reports")
    page = (folder / "report.html.jinja").read_text(encoding="utf-8")
    css = (folder / "report.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(page)
    content = _prepared(report, longest_text, Markup)
    return template.render(report=content, css=Markup(css)) + "\n"


def build_report(run: Run) -> Report:
    """Collect what the run folder holds."""
    manifests = {
        name: manifest
        for name in STAGES
        if (manifest := run.stage(name).read_manifest()) is not None
    }
    summary = summarize(run, counted=True)
    recipe = run.recipe()
    account = read_account(run.root / "data" / "account.json")
    panels = tuple(
        panel for stage in ("sft", "dpo") if (panel := build_panel(run, stage)) is not None
    )
    asked, talks = side_by_side(run, models=recipe.eval.models)
    groups = scoreboard.build_groups(run, summary)
    data = () if account is None else tuple(_data_part(part) for part in account.parts)
    notices = _notices(manifests)
    return Report(
        name=run.name,
        lede=_lede(run, recipe.model.base, manifests),
        stages=tuple(
            _stage_facts(name, summary["stages"].get(name), manifests.get(name)) for name in STAGES
        ),
        facts=_facts(run, manifests, seed=recipe.seed),
        contents=_contents(groups, panels, talks, data, notices),
        tiles=scoreboard.build_tiles(summary),
        groups=groups,
        panels=panels,
        answers=talks,
        answers_note=f"From {', '.join(asked)}; questions on which the models differ come first.",
        data=data,
        checked=_lists(account, checked=True),
        not_checked=_lists(account, checked=False),
        notices=notices,
        command=f"zephyrctl run -c {quoted(run.root / 'config.yaml')}",
        reproduce_note=_reproduce_note(manifests),
        config=_config_text(run),
        versions=_versions(manifests),
        made_by=__version__,
    )


def _lede(run: Run, base: str, manifests: dict[Any, Manifest]) -> str:
    if _record(run.root / "manifest.json").get("source") == "import":
        return "Scores of stored judgments, imported."
    done = [name for name in STAGES if name in manifests and manifests[name].state == "finished"]
    if not done:
        return f"Base model {base}; no stage has finished yet."
    return f"Base model {base}; finished: {', '.join(done)}."


def _stage_facts(name: str, state: dict[str, Any] | None, manifest: Manifest | None) -> StageFacts:
    if state is None or manifest is None:
        return StageFacts(name=name, state_class="absent", words="not run", error="")
    words = f"{state['state']}, {duration(state['seconds'])}"
    if manifest.attempts > 1:
        words += f", {manifest.attempts} attempts"
    error = manifest.error or {}
    return StageFacts(
        name=name,
        state_class=state["state"],
        words=words,
        error=str(error.get("message", "")) if state["state"] != "finished" else "",
    )


def _facts(run: Run, manifests: dict[Any, Manifest], *, seed: int) -> tuple[tuple[str, str], ...]:
    record = _record(run.root / "manifest.json")
    facts = [
        (
            "configuration",
            f"{record.get('config_digest', '')[:12]} from {record.get('source', '')}",
        ),
        ("begun", str(record.get("created", ""))[:16].replace("T", " ") + " UTC"),
        ("seed", str(seed)),
    ]
    if manifests:
        last = list(manifests.values())[-1]
        total = sum(manifest.seconds for manifest in manifests.values())
        facts.append(("time in stages", duration(total)))
        machines = dict.fromkeys(
            device_words(m.hardware, world_size=m.world_size) for m in manifests.values()
        )
        facts.append(("machine", "; ".join(machines)))
        cpu = " · ".join(filter(None, [str(last.hardware.get("cpu") or ""),
                                       memory_words(last.hardware)]))  # fmt: skip
        facts.append(("processor and memory", cpu))
        core = [f"{name} {last.versions[name]}" for name in ("torch", "transformers", "trl")
                if name in last.versions]  # fmt: skip
        facts.append(("software", ", ".join([f"zephyrctl {last.code.get('zephyrctl')}", *core])))
    return tuple((label, value) for label, value in facts if value.strip())


def _contents(
    groups: tuple[Any, ...],
    panels: tuple[Panel, ...],
    talks: tuple[Any, ...],
    data: tuple[Any, ...],
    notices: tuple[Any, ...],
) -> tuple[tuple[str, str], ...]:
    entries = [("scores", "Scores")] if groups else []
    entries += [(panel.stage, panel.title) for panel in panels]
    entries += [("answers", "Answers")] if talks else []
    entries += [("data", "Data account")] if data else []
    entries += [("notices", "Notices")] if notices else []
    return (*entries, ("reproduce", "Reproduce"))


def _data_part(part: StagePart) -> DataPart:
    def row(label: str, rows: int, css: str) -> DataRow:
        share = 100 * rows / part.rows_in if part.rows_in else 0.0
        return DataRow(label=label, rows=rows, share=f"{share:.2f}", css=css)

    rows = [row(f"kept for {split}", n, "kept") for split, n in part.rows_out]
    rows += [row(f"removed: {removed.reason}", removed.rows, "") for removed in part.removed]
    remarks = [f"{n} rows repaired and kept: {what}" for what, n in part.repaired]
    remarks += [f"{n} rows flagged and kept: {what}" for what, n in part.flagged]
    if part.estimated_steps is not None:
        remarks.append(f"About {part.estimated_steps} optimizer steps.")
    if part.length_bias.get("pairs"):
        longer = 100 * part.length_bias.get("chosen_longer", 0.0)
        remarks.append(
            f"Chosen answers are the longer ones in {longer:.0f} % of the pairs, by"
            f" {part.length_bias.get('mean_difference', 0.0):+.1f} tokens on average."
        )
    for source in part.sources:
        # A page that is sent to others does not tell where files lie on this machine.
        path = str(source.get("path"))
        name = Path(path).name if path.startswith(("/", "~")) else path
        remarks.append(
            f"Source {name}: {source.get('rows')} rows read as"
            f" {source.get('format')}, digest {str(source.get('digest', ''))[:12]}."
        )
    return DataPart(
        stage=part.stage,
        rows_in=part.rows_in,
        kept=part.kept,
        rows=tuple(rows),
        charts=tuple(
            LengthChart(
                title=f"tokens in a row of {split}",
                svg=length_histogram(f"tokens in a row of {split}", table.get("histogram") or ()),
                words=_length_words(table),
            )
            for split, table in part.splits.items()
            if table.get("rows")
        ),
        remarks=tuple(remarks),
        examples=tuple(
            (removed.reason, place, text)
            for removed in part.removed
            for place, text in removed.examples[:2]
        ),
        matches=part.matches[:_MOST_MATCHES],
        more_matches=max(0, len(part.matches) - _MOST_MATCHES),
    )


def _length_words(table: Any) -> str:
    quantiles = table.get("quantiles") or {}
    cut = int(table.get("rows_cut", 0)) + int(table.get("prompts_cut", 0))
    words = (
        f"{table.get('tokens', 0)} tokens in {table['rows']} rows, median"
        f" {quantiles.get('p50', '?')}, longest {table.get('longest', '?')};"
        f" {cut} rows cut to their length limit."
    )
    if "packing_efficiency" in table:
        full = 100 * table["packing_efficiency"]
        words += f" {table['sequences']} sequences, {full:.1f} % full."
    return words


def _lists(account: Account | None, *, checked: bool) -> tuple[Checked, ...]:
    entries = () if account is None else account.decontamination
    return tuple(entry for entry in entries if entry.checked is checked)


def _notices(manifests: dict[Any, Manifest]) -> tuple[tuple[str, str], ...]:
    said = [(name, text) for name, manifest in manifests.items() for text in manifest.notices]
    return tuple(said[:_MOST_NOTICES])


def _reproduce_note(manifests: dict[Any, Manifest]) -> str:
    codes = dict.fromkeys(
        f"source {str(m.code.get('source'))[:12]}"
        + (f", commit {str(m.code['commit'])[:12]}" if m.code.get("commit") else "")
        for m in manifests.values()
    )
    tail = f" Code: {'; '.join(codes)}." if codes else ""
    return "On one machine with the same package versions and seed, the numbers repeat." + tail


def _config_text(run: Run) -> str:
    path = run.root / "config.yaml"
    if not path.is_file():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _versions(manifests: dict[Any, Manifest]) -> tuple[tuple[str, str], ...]:
    if not manifests:
        return ()
    return tuple(sorted(list(manifests.values())[-1].versions.items()))


def _record(path: Path) -> dict[str, Any]:
    """A JSON object that only informs: empty where it is missing or torn."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _prepared(value: Any, longest: int, markup: type[str]) -> Any:
    """The same with all text clean and cut, and with SVG marked as markup for the template.

    Control characters are forbidden in HTML, and bidi controls would rearrange the page.
    """
    if isinstance(value, str):
        return _clipped(safe(value), longest)
    if isinstance(value, tuple):
        return tuple(_prepared(item, longest, markup) for item in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {}
    for name in (entry.name for entry in fields(value)):
        before = getattr(value, name)
        if name in _MARKUP:
            changed[name] = markup(before)
        else:
            most = _CONFIG_SHARE * longest if name == "config" else longest
            changed[name] = _prepared(before, most, markup)
    return replace(value, **changed)


def _clipped(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters)"
