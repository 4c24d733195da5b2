"""Are the rows that are about to be trained what data preparation promised? (C0)

A sample of rows is rendered and tokenized once more, by the tokenizer that is published with the
model, and looked at as `zephyrctl data inspect` does: before any time on a GPU is spent.
"""

from typing import Any

from zephyrctl import templates
from zephyrctl.config.schema import Recipe
from zephyrctl.data.inspection import inspect
from zephyrctl.data.load import Stage, load_split
from zephyrctl.data.prepared_rows import read_row
from zephyrctl.data.tokenizers import template_text
from zephyrctl.errors import DataError, quoted
from zephyrctl.runs.store import Run
from zephyrctl.runs.verdict import Check

ROWS = 16
_OTHER_TOKENS = "the prepared tokens are not what the tokenizer and its template give today"
_REFUSED = {
    "ids are the template's": _OTHER_TOKENS,
    "prompt ids are the template's": _OTHER_TOKENS,
    "EOS is trained": "no end of a turn is trained, so no model could learn to stop",
}
"""What no training can make good: where it fails for most rows, the stage is refused."""


def check(recipe: Recipe, run: Run, tokenizer: Any, *, stage: Stage) -> list[Check]:
    """One check for each property, over up to 16 rows of the training split.

    DataError where most rows are encoded otherwise than today, or train no end of turn.
    """
    if not (run.stage("data").path / stage / "train.jsonl").is_file():
        return [Check("tokens", "not checked", "the prepared rows have no text beside them")]
    rows = len(load_split(run, stage, "train"))
    count = min(ROWS, rows)
    failed: dict[str, list[tuple[int, str]]] = {}
    for place in range(count):
        index = place * rows // count
        try:
            found = _inspect(recipe, run, tokenizer, stage=stage, index=index)
        except KeyError as error:
            return [Check("tokens", "not checked", f"the text of row {index} has no {error}")]
        for name, detail in found.items():
            failed.setdefault(name, [])
            if detail is not None:
                failed[name].append((index, detail))
    for name, text in _REFUSED.items():
        if len(broken := failed.get(name, [])) > count / 2:
            raise DataError(
                f"{text} ({len(broken)} of {count} sampled rows; row {broken[0][0]})",
                where=str(run.stage("data").path / stage),
                hint=f"zephyrctl data prepare -c {quoted(run.root / 'config.yaml')} --force",
            )
    hint = f"zephyrctl data inspect -c {quoted(run.root / 'config.yaml')} --stage {stage} --index"
    return [_summary(name, broken, count=count, hint=hint) for name, broken in failed.items()]


def _inspect(
    recipe: Recipe, run: Run, tokenizer: Any, *, stage: Stage, index: int
) -> dict[str, str | None]:
    """What is wrong with one row by property, None where it holds."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    row = read_row(run, stage=stage, split="train", index=index)
    trains_all = stage == "sft" and recipe.sft.loss_on == "all"
    seen = inspect(row, tokenizer, max_length=training.max_length, trains_all=trains_all)
    found: dict[str, str | None] = {}
    for check in seen.checks:
        name = check.name.split(" (")[0]  # "EOS is trained (chosen)"
        if name == "one BOS" and template_text(tokenizer) != templates.read("zephyr"):
            continue  # other templates may open every turn with the token that is BOS too
        found[name] = found.get(name) or (None if check.passed else check.detail or "missing")
    return found


def _summary(name: str, broken: list[tuple[int, str]], *, count: int, hint: str) -> Check:
    band = f"all {count} sampled rows"
    if not broken:
        return Check(name, "pass", value=float(count), band=band)
    index, detail = broken[0]
    text = (
        f"'{name}' does not hold for {len(broken)} of {count} sampled rows (row {index}: {detail});"
        f" {hint} {index}"
    )
    return Check(name, "warn", text, float(count - len(broken)), band)
