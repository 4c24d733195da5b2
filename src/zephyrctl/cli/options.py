"""Options that many commands share, and the one way a command reads its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zephyrctl import terminal
from zephyrctl.errors import UsageError

if TYPE_CHECKING:
    from zephyrctl.config.layers import Loaded

# Every Typer app of ours: plain help, our own errors, -h everywhere.
APP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}

ProgressMode = Literal["live", "plain", "json", "none"]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file [./zephyr.yaml]."),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Packaged recipe, in place of a file."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; repeatable."),
]
ProgressOption = Annotated[
    ProgressMode | None,
    typer.Option(
        envvar="ZEPHYRCTL_PROGRESS",
        help="How progress is shown: live, plain, json or none [by the terminal].",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, also for an error.")
]
MaxCostOption = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="Most that a judge may cost; a hard stop."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps or auto.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def check_device(name: str) -> None:
    """Refuse what --device cannot mean, before anything is loaded for it."""
    if not _DEVICE.fullmatch(name):
        raise UsageError(
            f"'{name}' is no device: cpu, cuda, cuda:1, mps or auto", hint="--device cpu"
        )


def load_from(
    config: Path | None,
    recipe: str | None,
    sets: Sequence[str] | None,
    flags: Mapping[str, object] | None = None,
    *,
    needs_file: bool = False,
) -> Loaded:
    """The configuration of a command; says on stderr which files it came from.

    `needs_file` refuses to go on with the bare defaults.
    """
    from zephyrctl.config.layers import config_hash, load

    loaded = load(config=config, recipe=recipe, sets=sets or (), flags=flags)
    if needs_file and loaded.source == "defaults":
        raise UsageError(
            "no configuration: there is no zephyr.yaml in this folder",
            hint="zephyrctl init --recipe first-run, or add --recipe NAME",
        )
    over = sum(origin.kind in ("env", "set", "flag") for origin in loaded.origins.values())
    tail = f", {over} override{'s' if over > 1 else ''}" if over else ""
    terminal.say(f"config {loaded.source}, hash {config_hash(loaded.recipe)[:8]}{tail}")
    return loaded
