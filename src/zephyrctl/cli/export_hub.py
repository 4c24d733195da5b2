"""`zephyrctl export hub`: a trained model in a repository of the Hub."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption, YesOption
from zephyrctl.errors import Interrupted, UsageError, quoted

if TYPE_CHECKING:
    from zephyrctl.config.schema import Recipe
    from zephyrctl.publishing.files import File
    from zephyrctl.publishing.hub import Destination, Plan
    from zephyrctl.publishing.upload import Prepared, Wishes
    from zephyrctl.runs.references import ModelRef


DTypeOption = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    typer.Option(help="Number format of the weights; auto keeps that of the base."),
]
PrivateOption = Annotated[
    bool, typer.Option("--private/--public", help="Who may see it, where it is made.")
]
RevisionOption = Annotated[
    str | None, typer.Option(metavar="BRANCH", help="Branch; made if absent [main].")
]
MessageOption = Annotated[
    str | None, typer.Option("--message", "-m", metavar="TEXT", help="Of the commit.")
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder to write first [exports/MODEL].")
]


def hub(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="@last, @dpo, RUN/sft, or a model's folder.")
    ],
    repo_id: Annotated[
        str, typer.Option("--repo-id", metavar="NAME/REPO", help="The repository; made if absent.")
    ],
    private: PrivateOption = True,
    revision: RevisionOption = None,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request in place of a commit.")
    ] = False,
    message: MessageOption = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The adapter alone, where its base is on the Hub.")
    ] = False,
    out: OutOption = None,
    dtype: DTypeOption = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an older model in the folder.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder, show files and card, send nothing.")
    ] = False,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Publish a model on the Hub: weights, tokenizer, template and card in one commit.

    The model is exported first, as by `export merged`; an export that stands and is unchanged is
    used again. A repository is private unless --public says otherwise. The token comes from
    HF_TOKEN or from `hf auth login`. After an interruption the same command goes on.
    """
    from zephyrctl import __version__
    from zephyrctl.publishing.hub import destination

    text = message if message is not None else f"Upload a model with zephyrctl {__version__}"
    where = destination(
        repo_id, private=private, revision=revision, create_pr=create_pr, message=text
    )
    if adapter and dtype != "auto":
        raise UsageError("an adapter is published as it was trained", where="--dtype",
                         hint="leave out --dtype or --adapter")  # fmt: skip
    ref, recipe = asked_for(model)
    _refuse_unfinished(ref, model)
    from zephyrctl.publishing.upload import Wishes

    folder = out or default_folder(ref, "-adapter" if adapter else "")
    wishes = Wishes(folder, dtype, adapter=adapter, force=force)
    if dry_run:
        _dry_run(ref, wishes, where, recipe, json=json)
    else:
        _upload(ref, wishes, where, recipe, yes=yes, json=json)


def default_folder(ref: ModelRef, ending: str = "") -> Path:
    """Where a model is exported to when nothing else is asked for."""
    name = f"{ref.run.name}-{ref.stage}" if ref.run is not None else ref.name
    return Path("exports") / f"{name}{ending}"


def asked_for(model: str) -> tuple[ModelRef, Recipe]:
    """The model that MODEL names, and the recipe of its run, or that of this folder."""
    from zephyrctl.config.layers import load
    from zephyrctl.runs.references import resolve_model

    recipe = load().recipe
    root = Path(recipe.output_root).expanduser()
    ref = resolve_model(model, output_root=root, recipe=recipe, only_finished=True)
    if ref.notice:
        terminal.say(f"! {ref.notice}")
    return ref, ref.run.recipe() if ref.run is not None else recipe


def _refuse_unfinished(ref: ModelRef, model: str) -> None:
    """A run whose last stage is not done must not pass off the stage before as its result."""
    if ref.run is None or ref.stage != "sft" or model.rstrip("/").endswith(("sft", "sft/model")):
        return
    dpo = ref.run.stage("dpo").read_manifest()
    if dpo is not None and dpo.state != "finished":
        raise UsageError(
            f"run '{ref.run.name}' is not finished: dpo is {dpo.state}",
            where=str(ref.run.root),
            hint=f"zephyrctl dpo -c {quoted(ref.run.root / 'config.yaml')}, or publish "
            "its sft by name",
        )


def _dry_run(
    ref: ModelRef, wishes: Wishes, where: Destination, recipe: Recipe, *, json: bool
) -> None:
    from zephyrctl.publishing.upload import prepare

    prepared = prepare(ref, wishes, where.repo_id, model=recipe.model, token="", say=terminal.say)
    record = _record(prepared, where) | {"dry_run": True, "card": prepared.card}
    if json:
        terminal.emit_json(record)
        return
    terminal.say(f"{_kind(where)} {where.repo_id}, branch {where.revision or 'main'}:")
    _show_files(prepared.files, {})
    terminal.out(prepared.card.rstrip("\n"))
    terminal.say("dry run: nothing was sent, and what stands there was not looked at")
    terminal.say("next: the same command without --dry-run sends this")


def _upload(
    ref: ModelRef, wishes: Wishes, where: Destination, recipe: Recipe, *, yes: bool, json: bool
) -> None:
    from zephyrctl.publishing import hub as publishing
    from zephyrctl.publishing.upload import connect, prepare

    publishing.require_online()
    token = publishing.find_token(where.repo_id)
    api = connect(token)
    remote = publishing.look(api, where, token=token)
    publishing.refuse_other_visibility(remote, where)
    prepared = prepare(
        ref, wishes, where.repo_id, model=recipe.model, token=token, say=terminal.say
    )
    plan = publishing.plan(prepared.files, prepared.folder, remote)
    _show_plan(plan, where, is_new=not remote.exists)
    record = _record(prepared, where) | {"dry_run": False, "removed": list(plan.removed)}
    if plan.is_empty and not where.create_pr:
        terminal.say("✓ all of it is there already")
        _done(record | {"commit": remote.head, "url": f"{api.endpoint}/{where.repo_id}"}, json=json)
        return
    if remote.has_branch and not (yes or where.create_pr):
        _ask(plan, where, may_ask=not json)
    bars = terminal.is_tty(sys.stderr) and not json
    done = publishing.publish(
        api, prepared.folder, plan, remote=remote, where=where, token=token, bars=bars
    )
    terminal.say(f"✓ published and looked at again: commit {done.commit[:12]}")
    _done(record | vars(done), json=json)


def _done(record: dict[str, Any], *, json: bool) -> None:
    if json:
        terminal.emit_json(record)
    else:
        terminal.out(record.get("pull_request") or record["url"])


def _ask(plan: Plan, where: Destination, *, may_ask: bool) -> None:
    """What stands there is only replaced or removed where somebody said so."""
    if not (plan.replaced or plan.removed):
        return
    what = f"{len(plan.replaced)} files replaced and {len(plan.removed)} removed"
    if not (may_ask and terminal.is_tty(sys.stdin) and terminal.is_tty(sys.stderr)):
        raise UsageError(
            f"the repository holds something else: {what}", where=where.repo_id,
            hint="--yes, where that is meant; --revision BRANCH or --create-pr keeps both",
        )  # fmt: skip
    if not typer.confirm(terminal.safe(f"{what} in {where.repo_id}. Go on?"), err=True):
        raise Interrupted("nothing was sent", hint="--revision BRANCH or --create-pr keeps both")


def _show_plan(plan: Plan, where: Destination, *, is_new: bool) -> None:
    made = "a new repository" if is_new else "the repository"
    terminal.say(f"{_kind(where)} {where.repo_id} ({made}), branch {where.revision or 'main'}:")
    words = {file.name: "replaces another" for file in plan.replaced}
    words |= {file.name: "is there already" for file in plan.same}
    _show_files([*plan.new, *plan.replaced, *plan.same], words)
    for name in plan.removed:
        terminal.say(f"  {'removed':>12}  {name}   (of an older model; it stays in the history)")
    for name in (name for name in plan.kept if name != ".gitattributes"):  # the Hub's own
        terminal.say(f"  {'left':>12}  {name}")


def _show_files(files: Sequence[File], words: dict[str, str]) -> None:
    for file in files:
        word = words.get(file.name)
        terminal.say(f"  {file.size:>12,}  {file.name}{f'   ({word})' if word else ''}")
    terminal.say(f"  {sum(file.size for file in files):>12,}  bytes in {len(files)} files")


def _kind(where: Destination) -> str:
    return "private" if where.private else "PUBLIC"


def _record(prepared: Prepared, where: Destination) -> dict[str, Any]:
    return {
        "repo_id": where.repo_id,
        "private": where.private,
        "revision": where.revision or "main",
        "folder": str(prepared.folder),
        "bytes": sum(file.size for file in prepared.files),
        "files": [
            {"name": file.name, "bytes": file.size, "sha256": file.sha256}
            for file in prepared.files
        ],
    }
