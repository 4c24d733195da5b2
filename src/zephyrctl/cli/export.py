"""`zephyrctl export`: a trained model in a form that other programs load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.export_hub import default_folder, hub
from zephyrctl.cli.options import APP, JsonOption
from zephyrctl.errors import UsageError
from zephyrctl.sizes import size_words

if TYPE_CHECKING:
    from zephyrctl.publishing.gguf.export import ExportedGguf
    from zephyrctl.publishing.merge import Exported

_SIZE = re.compile(r"[1-9][0-9]*(KB|MB|GB)")

app = typer.Typer(help="Write a trained model in a form that other programs load.", **APP)


app.command()(hub)


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
    max_shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest file of weights, such as 5GB or 500MB.")
    ] = "5GB",
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
        ref, out=out or default_folder(ref), dtype=dtype, model=own.model, force=force,
        say=terminal.say, shard=_size(max_shard_size),
    )  # fmt: skip
    _show(exported, json=json)


@app.command()
def gguf(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="@last, @dpo, RUN/sft, a folder or a Hub id.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write [exports/MODEL-gguf].")
    ] = None,
    type: Annotated[
        Literal["f16", "q8_0", "f32", "bf16"],
        typer.Option(help="Number format of the weights in the file."),
    ] = "f16",
    force: Annotated[bool, typer.Option("--force", help="Replace an older one there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write one file that llama.cpp and Ollama run, with the chat template inside.

    Beside it: an Ollama Modelfile, a README, and export.json with SHA-256 sums. Llama, Mistral
    and Qwen2 models can be written. The folder appears only after the file was read again and
    found to give the log-probabilities of the unmerged model.
    """
    from zephyrctl.config.layers import load
    from zephyrctl.publishing.gguf import require_gguf
    from zephyrctl.runs.references import resolve_model

    require_gguf()
    recipe = load().recipe
    ref = resolve_model(model, output_root=Path(recipe.output_root).expanduser(), recipe=recipe)
    from zephyrctl.publishing.gguf.export import export_gguf

    terminal.say(f"exporting {ref.name} …")
    own = ref.run.recipe() if ref.run is not None else recipe
    target = out or default_folder(ref, "-gguf")
    written = export_gguf(
        ref, out=target, file_type=type, recipe=own, force=force, say=terminal.say
    )
    _show_gguf(written, json=json)


def _show_gguf(written: ExportedGguf, *, json: bool) -> None:
    for text in written.notices:
        terminal.say(f"! {text}")
    terminal.say(
        f"✓ {written.parameters:,} parameters in {written.type}, {size_words(written.bytes)}; "
        f"log-probs differ by {written.difference:.2g} nats per token (at most "
        f"{written.tolerance} allowed, {written.tokens} tokens of {written.checked_on}); "
        f"{written.same_text} of {written.texts} greedy texts the same; "
        f"{size_words(written.peak_memory)} of memory at most"
    )
    if json:
        terminal.emit_json({**vars(written), "folder": str(written.folder)})
    else:
        terminal.out(str(written.folder / written.file))


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text.upper()):
        raise UsageError(f"'{text}' is no size", where="--max-shard-size", hint="5GB, or 500MB")
    return text.upper()


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
