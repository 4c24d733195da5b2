"""How do another tool's results become a run? (`zephyrctl eval import`)

The run is built beside its place and appears at once. It holds the rows as they came, with the
fields that ours have beside them, and scores that this package computed from them. Everything is
marked as imported, with the SHA-256 of each source file; the same files are not imported twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zephyrctl.config.layers import Loaded, load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.evaluation.exchange.fastchat import is_own
from zephyrctl.evaluation.exchange.scored import Imported, Result, scored
from zephyrctl.evaluation.exchange.sources import Format, Found, read_source
from zephyrctl.evaluation.scores import Places, write_by_question, write_scores
from zephyrctl.runs import manifest as manifests
from zephyrctl.runs.atomic import dumps, staged_directory, write_json, write_text
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.store import RUN_NAME, Run, write_config

TITLES: Mapping[Format, str] = {"fastchat": "FastChat", "alpaca_eval": "AlpacaEval"}


def import_results(
    source: Path, *, name: str, wanted: Format | None, sets: Sequence[str]
) -> tuple[Run, bool]:
    """The run with the results in `source`, and whether it was there already.

    UsageError where a run of that name stands that came from anything else.
    """
    outer = load(sets=sets).recipe
    root = Path(outer.output_root).expanduser() / name
    if not RUN_NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a run",
            hint="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    found = read_source(source, wanted=wanted)
    inputs: dict[str, Any] = {"format": found.format}
    inputs |= {f"file {path}": digest for path, digest in found.files.items()}
    if root.exists():
        _refuse_other(Run(root), inputs)
        return Run(root), True
    result = scored(found, outer)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"the folder of the run cannot be made: {error.strerror}",
            where=str(root),
            hint="--set output_root=FOLDER",
        ) from None
    with staged_directory(root) as staged:
        run = Run(staged)
        _write(run, result, found, outer, inputs=inputs)
        write_config(run, _configuration(result, outer, name=name, folder=staged))
        _rename(run, name)
    return Run(root), False


def _refuse_other(run: Run, inputs: Mapping[str, Any]) -> None:
    manifest = run.stage("eval").read_manifest()
    if manifest is None or manifest.inputs != inputs:
        raise UsageError(
            f"run '{run.name}' is there already and did not come from these files",
            where=str(run.root),
            hint="--run OTHER, or zephyrctl runs rm " + run.name,
        )


def _configuration(result: Result, outer: Recipe, *, name: str, folder: Path) -> Loaded:
    """Defaults and what the import itself knows; a `zephyr.yaml` here is about other runs."""
    names = [item.benchmark for item in result.imported]
    benchmarks = list(dict.fromkeys("own" if is_own(name) else name for name in names))
    flags: dict[str, object] = {
        "name": name,
        "output_root": outer.output_root,
        "seed": outer.seed,
        "eval.models": list(dict.fromkeys(item.match.model for item in result.imported)),
        "eval.benchmarks": benchmarks,
        "eval.data_dir": outer.eval.data_dir,
        "eval.bootstrap": outer.eval.bootstrap,
    }
    return replace(load(flags=flags, cwd=folder), source="import")


def _rename(run: Run, name: str) -> None:
    """Give the record of a run in its staging folder the name that it will have."""
    import json

    path = run.root / "manifest.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"run": name})


def _write(
    run: Run, result: Result, found: Found, outer: Recipe, *, inputs: Mapping[str, Any]
) -> None:
    stage = run.stage("eval")
    manifests.begin(stage, inputs=inputs, seed=outer.seed, world_size=1)
    said = f"imported from {TITLES[found.format]}'s files ({len(found.files)})"
    outputs: list[Path] = []
    metrics: dict[str, Any] = {}
    for (benchmark, model), rows in result.answers.items():
        _write_rows(stage.path / benchmark / model / "answers.jsonl", rows)
    for item in result.imported:
        outputs.append(_write_match(stage.path, item, found, said))
        for score in item.scores.scores[:1]:
            metrics[f"{item.benchmark}.{item.match.model}.{score.metric}"] = score.value
    compared = result.comparisons(replicates=outer.eval.bootstrap, seed=outer.seed)
    for benchmark, comparisons in compared.items():
        path = stage.path / benchmark / "comparisons.json"
        write_json(path, {"comparisons": [item.to_json() for item in comparisons]})
        outputs.append(path)
    notices = [text for item in result.imported for text in item.scores.notices]
    manifests.finish(stage, manifests.Result(metrics, outputs, [said, *dict.fromkeys(notices)]))


def _write_match(root: Path, item: Imported, found: Found, said: str) -> Path:
    places = Places(root / item.benchmark, item.judge_folder)
    _write_rows(places.judgments(item.match), item.rows)
    about = {
        "imported": {"format": found.format, "files": found.files},
        "model": item.match.model,
        "model_digest": None,
        "template_sha256": None,
        "benchmark_digest": digest_json([item.benchmark, item.judge, found.files]),
        "opponent": item.match.opponent,
    }
    marked = replace(item.scores, notices=(said, *item.scores.notices))
    write_scores(places.scores(item.match), marked, about=about)
    write_by_question(places.by_question(item.match), marked, questions=item.questions)
    return places.scores(item.match)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_text(path, "".join(f"{dumps(row)}\n" for row in rows))
