"""`zephyrctl export`: a trained model in a form that other programs load."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.core

from zephyrctl import terminal
from zephyrctl.cli.export_hub import DTypeOption, asked_for, default_folder, hub
from zephyrctl.cli.options import APP, JsonOption
from zephyrctl.errors import UsageError, quoted
from zephyrctl.publishing.staging import told_what_is_left
from zephyrctl.sizes import size_words

if TYPE_CHECKING:
    from zephyrctl.publishing.gguf.export import ExportedGguf
    from zephyrctl.publishing.merge import Exported

_SIZE = re.compile(r"[1-9][0-9]*(KB|MB|GB)")
_ORDER = ("merged", "gguf", "hub")


class InOrder(typer.core.TyperGroup):
    """Lists the commands from the one on this disk to the one that is seen by others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of use."""
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(help="Write a trained model in a form that other programs load.", cls=InOrder,
                  **APP)  # fmt: skip
app.command(short_help="Publish it on the Hub, in one commit.")(hub)

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="@last, @dpo, RUN/sft, a folder or a Hub id.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an older export there.")]


@app.callback()
def root() -> None:
    """Write a trained model in a form that other programs load."""


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text.upper()):
        raise UsageError(f"'{text}' is no size", where="--max-shard-size", hint="5GB, or 500MB")
    return text.upper()


@app.command(short_help="A plain transformers folder, with all adapters merged.")
def merged(
    model: ModelArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write [exports/MODEL].")
    ] = None,
    dtype: DTypeOption = "auto",
    max_shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest file of weights, such as 5GB or 500MB.")
    ] = "5GB",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write a plain transformers folder: adapters merged, tokenizer, template and model card.

    Adapters are merged in float32 and the result is cast once. The folder appears only after its
    log-probabilities were found to be those of the unmerged model.
    """
    shard = _size(max_shard_size)
    with told_what_is_left(out):
        ref, recipe = asked_for(model)
    folder = out or default_folder(ref)
    with told_what_is_left(folder):  # torch takes seconds to come
        from zephyrctl.publishing.merge import export_merged

        terminal.say(f"exporting {ref.name} …")
        exported = export_merged(
            ref, out=folder, dtype=dtype, model=recipe.model, force=force, say=terminal.say,
            shard=shard,
        )  # fmt: skip
    _show(exported, model, json=json)


@app.command(short_help="One file for llama.cpp and Ollama, with a Modelfile.")
def gguf(
    model: ModelArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write [exports/MODEL-gguf].")
    ] = None,
    type: Annotated[
        Literal["f16", "q8_0", "f32", "bf16"],
        typer.Option(help="Number format of the weights in the file."),
    ] = "f16",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write one file that llama.cpp and Ollama run, with the chat template inside.

    Beside it: an Ollama Modelfile, a README, and export.json with SHA-256 sums. Llama, Mistral
    and Qwen2 models can be written. The folder appears only after the file was read again and
    found to give the log-probabilities of the unmerged model.
    """
    with told_what_is_left(out):
        from zephyrctl.publishing.gguf import require_gguf

        require_gguf()
        ref, recipe = asked_for(model)
    folder = out or default_folder(ref, "-gguf")
    with told_what_is_left(folder):  # torch takes seconds to come
        from zephyrctl.publishing.gguf.export import export_gguf

        terminal.say(f"exporting {ref.name} …")
        written = export_gguf(
            ref, out=folder, file_type=type, recipe=recipe, force=force, say=terminal.say
        )
    _show_gguf(written, json=json)


def _show_gguf(written: ExportedGguf, *, json: bool) -> None:
    for text in written.notices:
        terminal.say(f"! {text}")
    terminal.say(
        f"✓ {written.parameters:,} parameters in {written.type}, {size_words(written.bytes)}; "
        f"{written.same_text} of {written.texts} greedy texts the same"
    )
    terminal.say(
        f"  rounding moves a token's log-prob by {written.difference:.2g} nats on average, by "
        f"{written.largest:.2g} at most ({written.tolerance} allowed on average; {written.tokens} "
        f"tokens of {written.checked_on})"
    )
    terminal.say(
        f"  what rounding does not explain: {written.unexplained:.1g} nats at most "
        f"({written.unexplained_tolerance} allowed)"
    )
    path = written.folder / written.file
    name = shlex.quote(re.sub(r"[^a-z0-9._-]", "-", path.stem.lower()).strip(".-") or "model")
    _end(
        vars(written), path, json=json,
        commands=(
            f"llama-cli -m {shlex.quote(str(path))} --jinja -cnv",
            f"ollama create {name} -f {shlex.quote(str(written.folder / 'Modelfile'))} && "
            f"ollama run {name}",
        ),
    )  # fmt: skip


def _show(exported: Exported, model: str, *, json: bool) -> None:
    for text in exported.notices:
        terminal.say(f"! {text}")
    several = "s" if exported.adapters > 1 else ""
    what = f"{exported.adapters} adapter{several} merged; " if exported.adapters else ""
    terminal.say(
        f"✓ {exported.parameters:,} parameters in {exported.dtype}; {what}"
        f"log-probs differ by {exported.difference:.2g} nats per token on average "
        f"({exported.tolerance} allowed; {exported.tokens} tokens of {exported.checked_on})"
    )
    _end(
        vars(exported), exported.folder, json=json,
        commands=(
            f"zephyrctl chat {quoted(exported.folder)}",
            f"zephyrctl export hub {quoted(model)} --repo-id NAME/REPO --dry-run",
        ),
    )  # fmt: skip


def _end(record: dict[str, Any], written: Path, *, json: bool, commands: tuple[str, ...]) -> None:
    """The last lines: what was written, and what may be done with it."""
    for place, command in enumerate(commands):
        terminal.say(f"{'next:' if place == 0 else '  or:'} {command}")
    if json:
        terminal.emit_json({**record, "folder": str(record["folder"]), "next": list(commands)})
    else:
        terminal.out(str(written))
