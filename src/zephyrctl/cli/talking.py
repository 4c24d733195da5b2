"""Which model is talked with, with which settings, and in which way?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import terminal
from zephyrctl.chat import oneshot
from zephyrctl.chat.talker import Talker, open_endpoint, open_local
from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import ModelRef, resolve_model


@dataclass(frozen=True)
class Wish:
    """What the command line said."""

    model: str | None
    url: str | None
    device: str
    seed: int
    prompt: str | None
    json: bool


def talk(wish: Wish, given: Mapping[str, Any]) -> None:
    """Answer one prompt, or begin a conversation where a person sits at the terminal.

    `given` holds the settings of `chat:` that were given as flags.
    """
    prompt = wish.prompt
    if prompt is None and not terminal.is_tty(sys.stdin):
        prompt = sys.stdin.read()
    if prompt is None and wish.json:
        raise UsageError("--json is for one answer", hint='--prompt "…", or text on stdin')
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", hint='--prompt "…", or text on stdin')
    talker, settings = _open(wish, given)
    sampling = Sampling(
        settings.temperature,
        settings.top_p,
        settings.top_k,
        settings.max_new_tokens,
        wish.seed,
    )
    if prompt is None:
        _converse(talker, sampling, system=settings.system)
        return
    for text in talker.notices:
        terminal.say(f"! {text}")
    if wish.json:
        terminal.emit_json(
            oneshot.as_record(talker, prompt, system=settings.system, sampling=sampling)
        )
    else:
        oneshot.to_stdout(talker, prompt, system=settings.system, sampling=sampling)


def _open(wish: Wish, given: Mapping[str, Any]) -> tuple[Talker, Chat]:
    """The talker, and the settings of the run's own recipe with the given ones over them."""
    if wish.url is not None:
        spec = f"openai+{wish.url.rstrip('/')}:{_model_at(wish)}"
        return open_endpoint(spec), _settings(load().recipe, given)
    recipe = load().recipe
    root = Path(recipe.output_root).expanduser()
    ref = resolve_model(wish.model or "@last", output_root=root, recipe=recipe)
    if ref.kind == "endpoint":
        return open_endpoint(ref.target), _settings(recipe, given)
    own = ref.run.recipe() if ref.run is not None else recipe
    settings = _settings(own, given)
    return _loading(ref, lambda: open_local(ref, recipe=own, device=wish.device)), settings


def _settings(recipe: Recipe, given: Mapping[str, Any]) -> Chat:
    return recipe.chat.model_copy(update=dict(given))


def _model_at(wish: Wish) -> str:
    """The model's name at the service; the only one it has where none was named."""
    from zephyrctl.generation.endpoint import models_at

    if wish.model is not None:
        return wish.model
    names = models_at(wish.url or "")
    if len(names) != 1:
        raise UsageError(
            f"the service has {len(names)} models",
            where=wish.url,
            hint=f"name one: zephyrctl chat MODEL --url {wish.url}"
            + (f" ({', '.join(names[:5])})" if names else ""),
        )
    return names[0]


def _loading(ref: ModelRef, load_it: Callable[[], Talker]) -> Talker:
    """Load with a sign of life on stderr."""
    text = f"loading {terminal.safe(ref.name)} …"
    if terminal.is_tty(sys.stderr):
        with terminal.stderr_console().status(text):
            return load_it()
    terminal.say(text)
    return load_it()


def _converse(talker: Talker, sampling: Sampling, *, system: str | None) -> None:
    from zephyrctl.chat.repl import Repl
    from zephyrctl.chat.session import Session

    Repl(talker, sampling, Session(system), read=_reader()).run()


def _reader() -> Callable[[str], str]:
    """Reads a line with the terminal's own editing where Python has it."""
    try:
        import readline  # noqa: F401  (its import gives input() editing and a history)
    except ImportError:
        terminal.say("(no line editing: this Python has no readline)")
    fancy = terminal.speaks_unicode(sys.stdout)

    def read(sign: str) -> str:
        return input(sign if fancy else sign.replace("›", ">").replace("…", "."))

    return read
