"""What does a person need beside a GGUF file? (Ollama's `Modelfile`, a short README)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zephyrctl.errors import UsageError
from zephyrctl.publishing.gguf.turns import TurnForm

_MOST_CONTEXT = 4096
"""Ollama reserves memory for all of `num_ctx` at once; a laptop has enough for so much."""


@dataclass(frozen=True)
class Usage:
    """How a model is to be run: its file, end tokens, context, sampling and system prompt."""

    file: str
    title: str
    context: int
    stops: tuple[str, ...]
    temperature: float
    top_p: float
    top_k: int
    system: str | None


def modelfile(usage: Usage, form: TurnForm | None) -> tuple[str, tuple[str, ...]]:
    """The `Modelfile`, and what a reader has to be told of it.

    UsageError where the system prompt cannot be quoted in one.
    """
    go = form.as_go() if form is not None else None
    lines = [f"FROM ./{usage.file}"]
    if go is not None:
        lines.append(f'TEMPLATE """{go}"""')
    else:
        lines += [
            "# The chat template does more than put words round each turn, which Ollama's own",
            "# language cannot say. Without a TEMPLATE line Ollama guesses one, which may be",
            "# wrong: run the file with llama.cpp instead, which reads the template inside it.",
        ]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in usage.stops]
    lines += [
        f"PARAMETER num_ctx {min(usage.context, _MOST_CONTEXT)}",
        f"PARAMETER temperature {usage.temperature:g}",
        f"PARAMETER top_p {usage.top_p:g}",
        f"PARAMETER top_k {usage.top_k}",
        # Ollama's own default of 1.1 is no part of what the model was measured with.
        "PARAMETER repeat_penalty 1.0",
    ]
    if usage.system is not None:
        if '"""' in usage.system:
            raise UsageError(
                'a Modelfile cannot hold a system prompt with """ in it',
                where="chat.system",
                hint="--set chat.system=null",
            )
        lines.append(f'SYSTEM """{usage.system}"""')
    return "\n".join(lines) + "\n", tuple(_said(form, is_written=go is not None))


def _said(form: TurnForm | None, *, is_written: bool) -> Iterator[str]:
    if form is None or not is_written:
        yield (
            "the chat template has no form in Ollama's language: the Modelfile has no TEMPLATE, "
            "and only llama.cpp is sure to use the right one"
        )
    elif form.strips:
        yield (
            "the chat template takes white space off the ends of every text, which the Modelfile's "
            "TEMPLATE cannot"
        )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def how_to_use(usage: Usage, *, notices: Sequence[str]) -> str:
    """How the file is run, and what has to be known of it: a chapter of its card."""
    said = "".join(f"- {text}\n" for text in notices)
    return (
        f"`{usage.file}` runs in llama.cpp and in what is built on it.\n\n"
        "```sh\n"
        f"llama-cli -m {usage.file} --jinja -cnv      # a chat in the terminal\n"
        f"llama-server -m {usage.file} --jinja       # an OpenAI-compatible server\n"
        "ollama create my-model -f Modelfile && ollama run my-model\n"
        "```\n\n"
        "The chat template is inside the file (`tokenizer.chat_template`). It opens a chat with\n"
        "its own special tokens, so the file asks programs to add none\n"
        "(`tokenizer.ggml.add_bos_token` is false). A plain completion without the template gets\n"
        "no BOS token either.\n"
        + (f"\n{said}" if said else "")
        + "\n`export.json` holds the SHA-256 of every file.\n"
    )
