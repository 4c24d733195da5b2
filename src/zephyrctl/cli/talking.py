"""Which model is talked with, with which settings, and in which way?"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from zephyrctl import terminal
from zephyrctl.chat import ending, oneshot, side_by_side
from zephyrctl.chat.seats import Bench, Seating, check_different, loading, target_of
from zephyrctl.chat.talker import Talker, open_endpoint, open_local
from zephyrctl.cli.options import load_from
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import Terminated, UsageError, ZephyrctlError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import ModelRef, is_endpoint, resolve_model
from zephyrctl.runs.store import Run, StageName, is_run, list_runs

if TYPE_CHECKING:
    from zephyrctl.config.layers import Loaded

_OVERRIDES = ("env", "set", "flag")
_KEY_OPTION = "--api-key-file FILE"
_LOCAL = ("@", ".", "/", "~")
"""How references begin that mean no name at the service of --url."""


@dataclass(frozen=True)
class Wish:
    """What the command line said."""

    model: str | None
    url: str | None
    device: str
    seed: int
    prompt: str | None
    json: bool
    config: Path | None = None
    recipe: str | None = None
    sets: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    blind: bool = False
    api_key_file: Path | None = None

    @property
    def key_file(self) -> str | None:
        """The file of the key for the service that is named here."""
        return None if self.api_key_file is None else str(self.api_key_file)


def talk(wish: Wish, given: Mapping[str, Any]) -> None:
    """Answer one prompt, or begin a conversation where a person sits at the terminal.

    `given` holds the settings of `chat:` that were given as flags.
    """
    prompt = _prompt(wish)
    with _ended_by_signals(quietly=prompt is None):
        models = Models(wish, given)
        models.check_options()
        talker, settings = models.first()
        sampling = Sampling(
            settings.temperature,
            settings.top_p,
            settings.top_k,
            settings.max_new_tokens,
            wish.seed,
        )
        if prompt is None:
            _converse(models, talker, sampling, settings)
            return
        said = _say(talker.notices)
        bench = models.bench(talker)
        how: dict[str, Any] = {"system": settings.system, "sampling": sampling}
        if wish.json and bench is not None:
            terminal.emit_json(side_by_side.as_record(bench, prompt, **how))
        elif wish.json:
            terminal.emit_json(oneshot.as_record(talker, prompt, **how))
        elif bench is not None:
            side_by_side.to_stdout(bench, prompt, render=settings.render, **how)
        else:
            oneshot.to_stdout(talker, prompt, render=settings.render, **how)
        if bench is None:
            _say(talker.notices[said:])  # what the answer has shown


def _prompt(wish: Wish) -> str | None:
    """The one prompt to be answered; None where a conversation is wanted."""
    prompt = wish.prompt
    if prompt is None and not terminal.is_tty(sys.stdin):
        try:
            prompt = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise UsageError(f"the prompt on stdin is not UTF-8 text ({error.reason})") from None
    if prompt is None and wish.json:
        raise UsageError("--json is for one answer", hint='--prompt "…", or text on stdin')
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", hint='--prompt "…", or text on stdin')
    return prompt


class Models:
    """Finds and opens the models of one chat."""

    def __init__(self, wish: Wish, given: Mapping[str, Any]) -> None:
        self.wish = wish
        flags = {f"chat.{name}": value for name, value in given.items()}
        self._loaded = load_from(wish.config, wish.recipe, wish.sets, flags)
        self._root = Path(self._loaded.recipe.output_root).expanduser()
        self._named = wish.config is not None or wish.recipe is not None

    def first(self) -> tuple[Talker, Chat]:
        """The talker of the command line, and the settings of the chat."""
        wish = self.wish
        if wish.url is not None:
            return self._at_service(self._named_there(_model_at(wish))), self._loaded.recipe.chat
        ref = self.find(wish.model or self._newest())
        settings = self._recipe_of(ref).chat
        if ref.run is not None and settings != self._loaded.recipe.chat:
            terminal.say(f"chat settings of {ref.run.root}; -c FILE or --recipe NAME takes others")
        return self._open(ref), settings

    def open(self, ref: str) -> Talker:
        """Open another model; UsageError where there is none."""
        return self._open(self.find(ref))

    def find(self, ref: str) -> ModelRef:
        """What `ref` names; with --url a name is one at its service, unless it is a path to what is
        here, such as runs/mine/sft."""
        if self.wish.url is not None and not self._is_here(ref):
            ref = self._named_there(ref)
        recipe = self._loaded.recipe
        return resolve_model(ref, output_root=self._root, run=self._run(), recipe=recipe)

    def check_options(self) -> None:
        """Refuse what cannot be compared, and options that would be for nothing, before anything
        is loaded."""
        wish = self.wish
        if wish.url is not None and not wish.url.startswith(("http://", "https://")):
            raise UsageError(
                f"--url takes an address, not '{wish.url}'",
                hint="zephyrctl chat --url http://localhost:8000/v1",
            )
        if wish.api_key_file is not None and wish.url is None and not is_endpoint(wish.model or ""):
            raise UsageError(
                "--api-key-file is for a service, and the model is none",
                hint="zephyrctl chat MODEL --url http://host:8000/v1 --api-key-file FILE",
            )
        if wish.blind and not wish.compare:
            raise UsageError(
                "--blind is for a comparison", hint="zephyrctl chat @dpo --compare @sft --blind"
            )
        if wish.blind and (wish.prompt is not None or not terminal.is_tty(sys.stdin)):
            raise UsageError("--blind is for a conversation: nobody votes on one answer")
        if wish.compare:
            named = wish.model or ("*" if wish.url is not None else self._newest())
            own = named if wish.url is None else self._named_there(named)
            refs = [own, *wish.compare]
            check_different([target_of(self.find(ref)) for ref in refs], [named, *wish.compare])

    @property
    def seating(self) -> Seating:
        """How the models of a comparison are found here."""
        return Seating(self.find, self._recipe_of, self._load, self._root, self.wish.device)

    def bench(self, own: Talker) -> Bench | None:
        """`own` and the models of --compare, loaded where they fit; None without that flag."""
        if not self.wish.compare:
            return None
        return self.seating.bench(self.seating.seats(own, self.wish.compare))

    def references(self) -> list[str]:
        """What can be named here, for completion."""
        runs = list_runs(self._root)
        stages = [
            f"{run.name}/{stage}"
            for run in runs
            for stage in ("sft", "dpo")
            if _is_finished(run, stage)
        ]
        newest = [f"@{stage}" for stage in ("sft", "dpo") if any(s.endswith(stage) for s in stages)]
        return [*(["@last"] if runs else []), *newest, *stages]

    def _newest(self) -> str:
        """The model that is talked with where none was named: that of the configuration's run
        where a configuration was given and the run is there, else of the newest run."""
        run = self._run()
        return "@last" if run is None else str(run.root)

    def _run(self) -> Run | None:
        """The run of the configuration that was given by hand."""
        run = Run(self._root / self._loaded.recipe.name)
        return run if self._named and is_run(run.root) else None

    def _open(self, ref: ModelRef) -> Talker:
        return self._load(ref) if ref.kind == "endpoint" else _loading(ref, self._load)

    def _load(self, ref: ModelRef) -> Talker:
        if ref.kind == "endpoint":
            return self._at_service(ref.target)
        recipe = self._recipe_of(ref)
        quantize = recipe.chat.quantize
        return open_local(ref, recipe=recipe, device=self.wish.device, quantize=quantize)

    def _at_service(self, spec: str) -> Talker:
        """The key of --api-key-file is for the service that the command line names, and sent to no
        other one."""
        own = self._named_there("*") if self.wish.url is not None else self.wish.model or ""
        is_own = _service_of(spec) == _service_of(own)
        file = self.wish.key_file if is_own else None
        return open_endpoint(spec, api_key_file=file, key_option=_KEY_OPTION)

    def _is_here(self, ref: str) -> bool:
        """Whether `ref` is no name at the service of --url."""
        folders = (self._root / ref, Path(ref)) if "/" in ref else ()
        return (
            ref.startswith(_LOCAL) or is_endpoint(ref) or any(folder.is_dir() for folder in folders)
        )

    def _named_there(self, name: str) -> str:
        """The reference of a name at the service of --url."""
        return f"openai+{(self.wish.url or '').rstrip('/')}:{name}"

    def _recipe_of(self, ref: ModelRef) -> Recipe:
        """The configuration that a model is talked with: that of its own run, if it has one, with
        the overrides of the command line; a configuration given by hand has its `chat:` instead."""
        if ref.run is None:
            return self._loaded.recipe
        own = _overridden(ref.run.recipe(), self._loaded)
        return own.model_copy(update={"chat": self._loaded.recipe.chat}) if self._named else own


def _overridden(recipe: Recipe, loaded: Loaded) -> Recipe:
    """The recipe of a run with what the environment, --set and the flags of `loaded` say."""
    values = recipe.model_dump(mode="json")
    given = loaded.recipe.model_dump(mode="json")
    for path, origin in loaded.origins.items():
        if origin.kind in _OVERRIDES:
            *sections, name = path.split(".")
            to, source = values, given
            for section in sections:
                to, source = to[section], source[section]
            to[name] = source[name]
    return Recipe.model_validate(values)


def _is_finished(run: Run, stage: StageName) -> bool:
    """False too where its manifest cannot be read: a line being typed has no place for an error."""
    try:
        return run.stage(stage).is_finished()
    except ZephyrctlError:
        return False


def _service_of(spec: str) -> str | None:
    """The address of the service that `spec` names; None where it names none."""
    from zephyrctl.generation.endpoint.address import parse_spec

    return parse_spec(spec, os.environ)[0] if is_endpoint(spec) else None


def _model_at(wish: Wish) -> str:
    """The model's name at the service; the only one it has where none was named."""
    from zephyrctl.generation.endpoint import models_at

    if wish.model is not None:
        return wish.model
    names = models_at(wish.url or "", api_key_file=wish.key_file, key_option=_KEY_OPTION)
    if not names and not (wish.url or "").rstrip("/").endswith("/v1"):
        raise UsageError(
            "the service has no models at this address",
            where=wish.url,
            hint=f"zephyrctl chat --url {(wish.url or '').rstrip('/')}/v1",
        )
    if len(names) != 1:
        raise UsageError(
            f"the service has {len(names)} models",
            where=wish.url,
            hint=f"name one: zephyrctl chat MODEL --url {wish.url}"
            + (f" ({', '.join(names[:5])})" if names else ""),
        )
    return names[0]


def _say(notices: Sequence[str]) -> int:
    """Say what should be known of a model; returns how much that is."""
    for text in notices:
        terminal.say(f"! {text}")
    return len(notices)


def _loading(ref: ModelRef, load_it: Callable[[ModelRef], Talker]) -> Talker:
    """Load with a sign of life on stderr."""
    stage = f"{ref.run.name}/{ref.stage}" if ref.run is not None and ref.stage else None
    with loading(stage or ref.name):
        return load_it(ref)


def _converse(models: Models, talker: Talker, sampling: Sampling, settings: Chat) -> None:
    from zephyrctl.chat.comparison import Comparison
    from zephyrctl.chat.history import history_path, open_history
    from zephyrctl.chat.reading import open_reader
    from zephyrctl.chat.repl import Repl
    from zephyrctl.chat.session import Session

    history = open_history(history_path(os.environ)) if settings.history else None
    read = open_reader(history=history, references=models.references)
    bench = models.bench(talker)
    Repl(
        talker,
        sampling,
        Session(settings.system),
        read=read,
        opener=models.open,
        check=models.find,
        comparison=bench and Comparison(bench, models.wish.blind, sampling.seed),
        seating=models.seating,
        render=settings.render,
    ).run()


@contextmanager
def _ended_by_signals(*, quietly: bool) -> Iterator[None]:
    """Leave by way of every `finally` on SIGTERM and SIGHUP, so that the terminal is as before.

    `quietly` by SystemExit, which no library swallows and for which nothing is printed on a
    terminal that may be gone; else by an error that is told, under --json as one object.
    """
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if _is_default(number)]

    def handler(number: int, frame: FrameType | None) -> None:
        del frame
        for each in numbers:  # a second one must not disturb the leaving
            signal.signal(each, signal.SIG_IGN)
        if quietly:
            ending.end()
            return
        raise Terminated(f"stopped by {signal.Signals(number).name}")

    for number in numbers:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _is_default(number: int) -> bool:
    """Whether nobody else has a wish about a signal: nohup lets SIGHUP be ignored."""
    return signal.getsignal(number) is signal.SIG_DFL
