"""`zephyrctl chat`: talk with a model of a run, a folder, a Hub id or an endpoint."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from zephyrctl.cli.options import ConfigOption, DeviceOption, JsonOption, RecipeOption, SetOption

_Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="@last, @sft, RUN/dpo, a folder, a Hub id; with --url its name there.",
    ),
]
_Prompt = Annotated[
    str | None,
    typer.Option("--prompt", "-p", metavar="TEXT", help="Answer this and end; stdin is not read."),
]
_System = Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt [chat.system].")]
_Compare = Annotated[
    list[str] | None,
    typer.Option("--compare", metavar="MODEL", help="Let this model answer too (up to 3 times)."),
]
_Blind = Annotated[
    bool,
    typer.Option("--blind", help="Shuffle the compared replies, names hidden until the vote."),
]
_Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="OpenAI-compatible service: http://host:8000/v1."),
]
_ApiKeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="The service's key, else OPENAI_API_KEY."),
]
_MaxNewTokens = Annotated[
    int | None,
    typer.Option("--max-new-tokens", min=1, help="Longest reply [chat.max_new_tokens]."),
]
_Temperature = Annotated[
    float | None,
    typer.Option(min=0.0, help="Sampling temperature; 0 is greedy [chat.temperature]."),
]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the sampling.")]
_Quantize = Annotated[
    Literal["none", "8bit", "4bit"] | None,
    typer.Option(help="Load the weights quantized [chat.quantize]."),
]
_Render = Annotated[
    Literal["auto", "markdown", "plain"] | None,
    typer.Option(help="How replies are drawn [chat.render]."),
]
_NoHistory = Annotated[
    bool,
    typer.Option("--no-history", help="Keep nothing of what is typed [chat.history]."),
]


def chat(
    model: _Model = None,
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    prompt: _Prompt = None,
    system: _System = None,
    compare: _Compare = None,
    blind: _Blind = False,
    url: _Url = None,
    api_key_file: _ApiKeyFile = None,
    max_new_tokens: _MaxNewTokens = None,
    temperature: _Temperature = None,
    seed: _Seed = 0,
    device: DeviceOption = "auto",
    quantize: _Quantize = None,
    render: _Render = None,
    no_history: _NoHistory = False,
    json: JsonOption = False,
) -> None:
    """Talk with a model, in the chat template that it was trained with.

    zephyrctl chat @dpo, or with --prompt "…" --json one answer for a script; text on stdin is a
    prompt too. The settings are those of the model's own run, unless -c or --recipe is given.

    --json prints model, messages, reply, finish_reason (stop, length, or what else a service says),
    tokens, prompt_tokens, seconds, seed, sampling and template_sha256 (null at a service). With
    --compare, messages, seed, sampling and one_by_one stand once, the rest for each under replies.
    """
    from zephyrctl.chat.loading import starting

    with starting():
        from zephyrctl.cli import talking
        from zephyrctl.cli.chat_wish import Wish

    given = {
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "system": system,
        "quantize": quantize,
        "render": render,
        "history": False if no_history else None,
    }
    sets, compared = tuple(set_ or ()), tuple(compare or ())
    wish = Wish(
        model, url, device, seed, prompt, json, config, recipe, sets, compared, blind, api_key_file
    )
    talking.talk(wish, given)
