"""Which models does a chat have, and with whose settings?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zephyrctl.chat.loading import loading
from zephyrctl.chat.seats import Bench, Seating, check_different, target_of
from zephyrctl.chat.talker import Talker, open_endpoint, open_local
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.cli.chat_wish import Wish, check
from zephyrctl.config.layers import Loaded, load
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError, ZephyrctlError
from zephyrctl.runs.references import ModelRef, is_endpoint, resolve_model
from zephyrctl.runs.store import Run, StageName, is_run, list_runs

_OVERRIDES = ("env", "set", "flag")
_KEY_OPTION = "--api-key-file FILE"
_STAGES: dict[str, StageName] = {"@sft": "sft", "@dpo": "dpo"}
_LOCAL = ("@", ".", "/", "~")
"""How references begin that mean no name at the service of --url."""


class Models:
    """Finds and opens the models of one chat."""

    def __init__(self, wish: Wish, given: Mapping[str, Any]) -> None:
        self.wish = wish
        flags = {f"chat.{name}": value for name, value in given.items()}
        self._loaded = load(config=wish.config, recipe=wish.recipe, sets=wish.sets, flags=flags)
        self._root = Path(self._loaded.recipe.output_root).expanduser()
        self._named = wish.config is not None or wish.recipe is not None
        self._own: Run | None = None
        """The run of the chat's own model, where it is one of a run."""
        self._told: set[str] = set()

    def first(self) -> tuple[Talker, Chat]:
        """The talker of the command line, and the settings of the chat."""
        wish = self.wish
        if wish.url is not None:
            self._say_settings(None)
            return self._at_service(self._named_there(_model_at(wish))), self._loaded.recipe.chat
        ref = self.find(wish.model or self._newest())
        self._own = ref.run
        self._say_settings(ref.run)
        return self._open(ref), self._recipe_of(ref).chat

    def open(self, ref: str) -> Talker:
        """Open another model as the chat's own; UsageError where there is none."""
        found = self.find(ref)
        talker = self._open(found)
        self._own = found.run
        return talker

    def find(self, ref: str) -> ModelRef:
        """What `ref` names; with --url a name is one at its service, unless it is a path to what is
        here, such as runs/mine/sft.

        `@sft` and `@dpo` are those of the chat's own run where it has them finished; where they
        are another run's, that is said once.
        """
        if self.wish.url is not None and not self._is_here(ref):
            ref = self._named_there(ref)
        recipe, own, stage = self._loaded.recipe, self._own, _STAGES.get(ref)
        has_own = own is not None and stage is not None and _is_finished(own, stage)
        run = own if has_own else self._run()
        found = resolve_model(
            ref, output_root=self._root, run=run, recipe=recipe, only_finished=True
        )
        if own is not None and stage is not None and not has_own and found.run is not None:
            self._say_once(
                f"({ref} is {found.run.name}/{stage}: {own.name} has no finished {stage})"
            )
        return found

    def check(self) -> None:
        """Refuse what cannot be compared, and options that would be for nothing, before anything
        is loaded."""
        wish = self.wish
        check(wish)
        found = self._named_models()
        if wish.compare:
            named = wish.model or ("*" if wish.url is not None else self._newest())
            check_different([target_of(ref) for ref in found], [named, *wish.compare])
        self._check_service_alone(found)

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

    def _named_models(self) -> list[ModelRef]:
        """The models of the command line."""
        wish = self.wish
        if wish.url is not None:
            own = self._named_there(wish.model or "*")
        else:
            own = wish.model or self._newest()
        first = self.find(own)
        self._own = first.run
        return [first, *(self.find(ref) for ref in wish.compare)]

    def _check_service_alone(self, found: list[ModelRef]) -> None:
        """Options of weights that are loaded here say nothing to a service: refused for one answer,
        and said for a conversation, in which another model may still be opened."""
        wish, origin = self.wish, self._loaded.origins.get("chat.quantize")
        given = ["--device"] if wish.device != "auto" else []
        if origin is not None and origin.kind in ("set", "flag"):
            given.append("--quantize" if origin.kind == "flag" else "--set chat.quantize")
        if not given or any(ref.kind != "endpoint" for ref in found):
            return
        is_are = "is" if len(given) == 1 else "are"
        options = " and ".join(given)
        text = f"{options} {is_are} for models that are loaded here, not for those of a service"
        if wish.is_for_one_answer:
            raise UsageError(text, hint=f"leave out {options}")
        say_wrapped(text, head="! ")

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            say_wrapped(text)

    def _say_settings(self, run: Run | None) -> None:
        """Whose `chat:` it is, in one line: that of `run`, the model's own, or of what the command
        line or the folder gave."""
        loaded = self._loaded
        source, aside = loaded.source, ""
        if run is not None and not self._named:
            # A zephyr.yaml that lies here says where runs are, and nothing of a run's own chat.
            source, aside = str(run.root), f", not {source}" if source != "defaults" else ""
        given = sum(origin.kind in _OVERRIDES for origin in loaded.origins.values())
        over = f", {given} override{'' if given == 1 else 's'}" if given else ""
        say_wrapped(f"settings: {source}{over}{aside}")

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
        if ref.notice:
            say_wrapped(ref.notice, head="! ")
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


def _loading(ref: ModelRef, load_it: Callable[[ModelRef], Talker]) -> Talker:
    """Load with a sign of life on stderr."""
    stage = f"{ref.run.name}/{ref.stage}" if ref.run is not None and ref.stage else None
    with loading(stage or ref.name):
        return load_it(ref)
