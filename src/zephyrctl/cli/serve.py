"""`zephyrctl serve`: a model as an OpenAI-compatible service."""

from pathlib import Path
from typing import Annotated

import typer

from zephyrctl import terminal


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
    device: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, mps or auto.")
    ] = "auto",
) -> None:
    """Serve a model: /v1/chat/completions (streamed or not), /v1/models and /health.

    Clients call the model by the name given here. Requests are answered one after the other; a
    field that is not supported is refused. Ctrl-C and SIGTERM answer what is open, then end.
    """
    from zephyrctl.config.layers import load
    from zephyrctl.generation.endpoint import key_of_file
    from zephyrctl.runs.references import resolve_model
    from zephyrctl.serving import server

    server.require_extra()
    recipe = load().recipe
    ref = resolve_model(model, output_root=Path(recipe.output_root).expanduser(), recipe=recipe)
    key = key_of_file(api_key_file.expanduser()) if api_key_file is not None else None
    service = server.Service(ref, model, host, port, key, max_new_tokens, device)
    own = ref.run.recipe() if ref.run is not None else recipe
    server.serve(service, model=own.model, say=terminal.say)
