"""`zephyrctl chat`: talk with a model of a run, a folder, a Hub id or an endpoint."""

from typing import Annotated

import typer

from zephyrctl.cli.options import JsonOption


def chat(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="@last, @sft, RUN/dpo, a folder, a Hub id; with --url its name there.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="Answer this and end.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System prompt [chat.system].")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="OpenAI-compatible service: http://host:8000/v1."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Longest reply.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, mps or auto.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Talk with a model, in the chat template that it was trained with.

    zephyrctl chat @dpo, or with --prompt "…" --json one answer for a script; text on stdin is a
    prompt too.
    """
    from zephyrctl.cli import talking

    given = {"temperature": temperature, "max_new_tokens": max_new_tokens, "system": system}
    wish = talking.Wish(model, url, device, seed, prompt, json)
    talking.talk(wish, {name: value for name, value in given.items() if value is not None})
