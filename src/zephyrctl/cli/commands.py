"""Which commands are there? One table, and the root app made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer
import typer.core

from zephyrctl import __version__, terminal
from zephyrctl.cli import (
    chat,
    config,
    data,
    doctor,
    evaluate,
    export,
    init,
    models,
    plan,
    recipes,
    report,
    run,
    runs,
    serve,
    topics,
    train,
)
from zephyrctl.cli.options import APP
from zephyrctl.runs import trusted

# Every command of the tool, in the order of `zephyrctl --help`. One line each.
COMMANDS: tuple[tuple[str, str, typer.Typer | Callable[..., None]], ...] = (
    ("Start", "init", init.init),
    ("Start", "recipes", recipes.app),
    ("Start", "config", config.app),
    ("Start", "doctor", doctor.doctor),
    ("Start", "plan", plan.plan),
    ("Start", "models", models.app),
    ("Stages", "run", run.run),
    ("Stages", "data", data.app),
    ("Stages", "sft", train.sft),
    ("Stages", "dpo", train.dpo),
    ("Stages", "eval", evaluate.app),
    ("Stages", "chat", chat.chat),
    ("Results", "runs", runs.app),
    ("Results", "report", report.report),
    ("Results", "export", export.app),
    ("Results", "serve", serve.serve),
    ("More", "help", topics.show),
)


class GroupedHelp(typer.core.TyperGroup):
    """Lists commands by their panel; without Rich markup Typer itself shows one long list."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        widest = max(len(name) for name in self.commands)
        for panel in dict.fromkeys(panel for panel, _, _ in COMMANDS):
            names = [name for home, name, _ in COMMANDS if home == panel]
            with formatter.section(panel):
                rows = [(name, self.commands[name].get_short_help_str(200)) for name in names]
                formatter.write_dl([(f"{name:<{widest}}", text) for name, text in rows])


app = typer.Typer(cls=GroupedHelp, **{**APP, "add_completion": True})


def _show_version(asked: bool) -> None:
    if asked:
        terminal.out(f"zephyrctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Print it."),
    ] = False,
    color: Annotated[
        Literal["auto", "always", "never"], typer.Option(help="When to use colour.")
    ] = "auto",
    trust_remote_code: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OWNER/NAME@COMMIT",
            envvar=trusted.VARIABLE,
            help="Run the code that this commit of a model's repository brings; repeatable.",
        ),
    ] = None,
) -> None:
    """From a base language model to an aligned, measured chat model, by the Zephyr recipe.

    The first run: zephyrctl run --recipe first-run, then zephyrctl chat @dpo
    """
    terminal.set_color(color)
    trusted.allow(trust_remote_code or ())


for _, _name, _target in COMMANDS:
    if isinstance(_target, typer.Typer):
        app.add_typer(_target, name=_name)
    else:
        app.command(_name)(_target)


def path_in(args: Sequence[str]) -> str:
    """The command that `args` call: `zephyrctl runs show`. The parser of options knows no command
    when it meets one that lacks its value."""
    path, level = ["zephyrctl"], app
    for word in args:
        if word in _names_of(level):
            return " ".join([*path, word])
        below = {each.name: each.typer_instance for each in level.registered_groups}
        if (found := below.get(word)) is not None:
            path.append(word)
            level = found
    return " ".join(path)


def _names_of(group: typer.Typer) -> set[str]:
    """Its commands; Typer names those without a name by their function."""
    return {
        each.name or (each.callback.__name__.replace("_", "-") if each.callback else "")
        for each in group.registered_commands
    }
