"""`zephyrctl doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import ConfigOption, JsonOption, RecipeOption, SetOption, load_from
from zephyrctl.errors import EnvironmentProblem

if TYPE_CHECKING:
    from zephyrctl.cli.doctor_machine import Finding

_SIGNS = {"ok": "✓", "warning": "!", "problem": "✗"}


def doctor(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Check this machine, and whether the chosen recipe can run on it.

    Exit code 3 where something must be put right first.
    """
    from zephyrctl.cli import doctor_machine, doctor_recipe, doctor_slurm

    findings = doctor_machine.check() + doctor_slurm.check_machine()
    chosen = config is not None or recipe is not None or Path("zephyr.yaml").is_file()
    if chosen:
        findings += doctor_recipe.check(load_from(config, recipe, sets))
    show(findings, recipe_checked=chosen, as_json=json)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(EnvironmentProblem.exit_code)


def show(findings: list[Finding], *, recipe_checked: bool, as_json: bool) -> None:
    """The checklist on stdout: a sign, a name, what was found, and below it the remedy."""
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        rows = [vars(finding) for finding in findings]
        terminal.emit_json({"ok": problems == 0, "findings": rows})
        return
    for finding in findings:
        terminal.out(f" {_SIGNS[finding.state]} {finding.name:<14} {finding.text}")
        if finding.remedy and finding.state != "ok":
            terminal.out(f"   {'':<14} → {finding.remedy}")
    if problems:
        terminal.out(f"{problems} to put right first")
    elif recipe_checked:
        terminal.out("the recipe can run here: zephyrctl run")
    else:
        terminal.out("name a recipe to check it too: zephyrctl doctor --recipe first-run")
