"""`zephyrctl serve`: a model as an OpenAI-compatible service."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import DeviceOption, check_device

EngineName = Literal["auto", "transformers", "vllm"]


def serve(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="@last, @dpo, RUN/sft, a folder or a Hub id.")
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 is all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="Ask for the key in this file."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Where a request names no limit.")
    ] = 1024,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Answers at once; more wait in line.")
    ] = 32,
    engine: Annotated[
        EngineName, typer.Option(metavar="NAME", help="auto, transformers or vllm.")
    ] = "auto",
    device: DeviceOption = "auto",
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="For open answers at the end.")
    ] = 300,
) -> None:
    """Serve a model: /v1/chat/completions (streamed or not), /v1/models and /health.

    Clients call the model by the name given here. Requests share one running batch, each with its
    own sampling, seed, stop texts, log-probabilities and choices; a field that is not supported is
    refused. As many run at once as --max-batch and half of the free memory allow; the others wait
    in line, and a full line answers 503.

    Ctrl-C and SIGTERM answer what is open, for --grace seconds at most, then end; a second Ctrl-C
    breaks off.
    """
    from zephyrctl.chat.loading import loading
    from zephyrctl.config.layers import load
    from zephyrctl.runs.references import resolve_model
    from zephyrctl.serving import server

    check_device(device)
    server.require_extra()
    recipe = load().recipe
    root = Path(recipe.output_root).expanduser()
    ref = resolve_model(model, output_root=root, recipe=recipe, only_finished=True)
    if ref.notice:
        terminal.say(f"! {ref.notice}")
    key, said = server.key_in(api_key_file.expanduser()) if api_key_file else (None, [])
    for text in said:
        terminal.say(f"! {text}")
    service = server.Service(
        ref, model, host, port, key, max_new_tokens, device, engine, max_batch, grace
    )
    own = ref.run.recipe() if ref.run is not None else recipe
    server.serve(service, model=own.model, say=terminal.say, loading=loading)
