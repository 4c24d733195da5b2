"""`zephyrctl export`: a trained model in a form that other programs load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import APP, JsonOption

if TYPE_CHECKING:
    from zephyrctl.publishing.merge import Exported
    from zephyrctl.runs.references import ModelRef

app = typer.Typer(help="Write a trained model in a form that other programs load.", **APP)


@app.callback()
def root() -> None:
    """Write a trained model in a form that other programs load."""


@app.command()
def merged(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="@last, @dpo, RUN/sft, a folder or a Hub id.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write [exports/MODEL].")
    ] = None,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        typer.Option(help="Number format of the weights; auto keeps that of the base."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an older model there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a plain transformers folder: adapters merged, tokenizer, template and model card.

    Adapters are merged in float32 and the result is cast once. The folder appears only after its
    log-probabilities were found to be those of the unmerged model.
    """
    from zephyrctl.config.layers import load
    from zephyrctl.runs.references import resolve_model

    recipe = load().recipe
    ref = resolve_model(model, output_root=Path(recipe.output_root).expanduser(), recipe=recipe)
    from zephyrctl.publishing.merge import export_merged

    terminal.say(f"exporting {ref.name} …")
    own = ref.run.recipe() if ref.run is not None else recipe
    exported = export_merged(
        ref, out=out or _default(ref), dtype=dtype, model=own.model, force=force, say=terminal.say
    )
    _show(exported, json=json)


def _default(ref: ModelRef) -> Path:
    name = f"{ref.run.name}-{ref.stage}" if ref.run is not None else ref.name
    return Path("exports") / name


def _show(exported: Exported, *, json: bool) -> None:
    for text in exported.notices:
        terminal.say(f"! {text}")
    terminal.say(
        f"✓ {exported.parameters:,} parameters in {exported.dtype}, {exported.adapters} adapters "
        f"merged; log-probs differ by {exported.difference:.2g} nats per token "
        f"(at most {exported.tolerance} allowed, {exported.tokens} tokens of {exported.checked_on})"
    )
    if json:
        terminal.emit_json({**vars(exported), "folder": str(exported.folder)})
    else:
        terminal.out(str(exported.folder))
