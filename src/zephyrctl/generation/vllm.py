"""How does vLLM answer here: with which arguments, and in what does it differ from transformers?

vLLM gets our own token ids, so that a prompt is what data preparation and training made of it, and
gives back ids that are decoded as everywhere else. No sampling setting of the model leaks in.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import AsyncGenerator, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from zephyrctl import environment
from zephyrctl.data.messages import Message, check_prompt
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import encode_prompts
from zephyrctl.environment import Gpu, package_version
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation.adapters import chain_of
from zephyrctl.generation.detokenize import decode
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.models import remote_code
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.signals import raise_if_stopping

DIFFERENCES = (
    "vLLM answers: sampled answers are drawn otherwise than by transformers, and greedy ones can "
    "part where two tokens are nearly as probable"
)
"""What a reader of the answers has to know."""
_HINT = "--set eval.engine=transformers"
_ENVIRONMENT = {
    # In this process: a kill leaves nobody behind, closing frees the memory, and what is scheduled
    # together is the same in every run (vLLM's page on reproducibility).
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CONFIGURE_LOGGING": "0",
}
_LEAST_VERSION = (0, 18)
_LAUNCHER = ("TORCHELASTIC_", "MASTER_")
"""Beginnings of variables by which vLLM's own process group would join torchrun's store."""


def is_installed() -> bool:
    """Whether the `vllm` extra is here; nothing is imported."""
    return find_spec("vllm") is not None


def choose_here(
    setting: str, *, device: str = "auto", way_round: str = _HINT
) -> tuple[str, tuple[str, ...]]:
    """`choose` by what is on this machine. On a `device` that is asked for by name transformers
    answers: vLLM takes the GPUs that it sees."""
    is_named = device not in ("auto", "cuda")
    if setting == "vllm" and is_named:
        raise UsageError(
            f"vLLM chooses its GPUs itself, not '{device}'",
            hint=f"CUDA_VISIBLE_DEVICES=1 zephyrctl serve …, or {way_round}",
        )
    return choose(
        setting,
        visible=[] if is_named else environment.visible_gpus(),
        installed=environment.installed_gpus(),
        has_vllm=is_installed() and not is_named,
        way_round=way_round,
    )


def choose(
    setting: str,
    *,
    visible: Sequence[Gpu],
    installed: Sequence[Gpu],
    has_vllm: bool,
    way_round: str = _HINT,
) -> tuple[str, tuple[str, ...]]:
    """The engine that `eval.engine` or `--engine` means here, and what is to be said of it.

    `visible` are this process's GPUs and `installed` those of the machine: the same for every
    process, so that all of them choose alike. vLLM serves GPUs that compute in bfloat16.
    `way_round` is how a user asks for transformers.
    """
    serves = bool(visible) and all(gpu.bf16 for gpu in installed)
    if setting == "vllm" and not has_vllm:
        raise EnvironmentProblem(
            "vLLM is not installed", hint=f"pip install 'zephyrctl[vllm]', or {way_round}"
        )
    if setting == "vllm" and not serves:
        raise EnvironmentProblem(
            "vLLM needs GPUs that compute in bfloat16 (compute capability 8.0 or later)",
            hint=way_round,
        )
    if setting == "transformers" or not (has_vllm or visible):
        return "transformers", ()
    if has_vllm and serves:
        return "vllm", (DIFFERENCES,)
    missing = "it has no GPU that computes in bfloat16" if has_vllm else "it is not installed"
    return "transformers", (f"transformers answers instead of vLLM: {missing}",)


def engine_arguments(
    folder: str, tokenizer: str, *, dtype: str, own_code: bool = False
) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for a model's folder; `own_code` is whether its code may be run."""
    return {
        "model": folder,
        "tokenizer": tokenizer,
        "dtype": "bfloat16" if dtype == "auto" else dtype,
        "seed": 0,
        "trust_remote_code": own_code,
        # "vllm": its own neutral defaults, not the model's generation_config.json.
        "generation_config": "vllm",
        "disable_log_stats": True,
    }


def sampling_arguments(
    sampling: Sampling,
    prompt: Sequence[int],
    *,
    limit: int,
    stop_ids: frozenset[int],
    repetition_penalty: float = 1.0,
) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams` for one prompt; `limit` is what its context leaves.

    The seed is the prompt's own, as our own draws are: with one for all, questions would share
    their luck.
    """
    greedy = sampling.is_greedy
    return {
        "n": 1,
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 0 if greedy else sampling.top_k,
        "seed": None if greedy else sampling.seed_for(prompt) >> 1,  # it takes 63 bits
        "max_tokens": min(sampling.max_new_tokens, limit),
        "repetition_penalty": repetition_penalty,
        "stop_token_ids": sorted(stop_ids),
        "detokenize": False,
    }


def require_safe(*folders: str, version: str | None, way_round: str = _HINT) -> bool:
    """Whether code of the model's folders may be run; an error where vLLM could run it unasked.

    Three times vLLM ran code that `auto_map` names although it was told not to: CVE-2025-66448,
    CVE-2026-22807 and CVE-2026-27893, mended in 0.18. Whatever comes next, it is not shown any.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:2])
    if version is not None and numbers < _LEAST_VERSION:
        raise EnvironmentProblem(
            f"vLLM {version} can run code of a model although it is told not to",
            hint=f"pip install 'zephyrctl[vllm]', or {way_round}",
        )
    trusted = [remote_code.may_run(folder) for folder in folders]
    for folder, is_trusted in zip(folders, trusted, strict=True):
        named = remote_code.classes(Path(folder))
        if named and not is_trusted:
            raise UsageError(
                f"the model names code of its own ({named[0][1]}), which vLLM is not shown",
                where=str(Path(folder) / named[0][0]),
                hint=f"{way_round}   (it takes transformers' own code where there is some)",
            )
    return any(trusted)


def prepare_environment(
    env: MutableMapping[str, str], wanted: Mapping[str, str] = _ENVIRONMENT
) -> None:
    """Set what vLLM reads when it is imported, and take away what torchrun left for others."""
    for name in [name for name in env if name.startswith(_LAUNCHER)]:
        del env[name]
    env.update({name: value for name, value in wanted.items() if name not in env})


class VllmAnswerer:
    """A model in vLLM; see `Answerer`."""

    def __init__(
        self,
        llm: Any,
        tokenizer: Any,
        *,
        params: Callable[..., Any],
        stop_ids: frozenset[int],
        context: int,
        repetition_penalty: float,
    ) -> None:
        self._engine = llm.llm_engine
        self._tokenizer = tokenizer
        self._params = params
        self._stop_ids = stop_ids
        self._context = context
        self._penalty = repetition_penalty
        self._asked = 0

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        """See `Answerer`; a prompt that is too long gets a completion that says so."""
        for prompt in prompts:
            check_prompt(prompt)
        under_way: dict[str, tuple[int, int, float]] = {}
        for index, ids in enumerate(encode_prompts(self._tokenizer, prompts)):
            room = self._context - len(ids)
            if room < 1:
                problem = f"the prompt has {len(ids)} tokens, and the model reads {self._context}"
                on_done(index, Completion("", 0, len(ids), False, 0.0, problem))
                continue
            self._asked += 1
            arguments = sampling_arguments(
                sampling,
                ids,
                limit=room,
                stop_ids=self._stop_ids,
                repetition_penalty=self._penalty,
            )
            name = str(self._asked)
            self._engine.add_request(name, {"prompt_token_ids": ids}, self._params(**arguments))
            under_way[name] = (index, len(ids), perf_counter())
        while under_way:
            raise_if_stopping()
            for output in self._engine.step():
                if output.finished:
                    index, read, began = under_way.pop(output.request_id)
                    on_done(index, self._completion(output.outputs[0], read, began))

    def close(self) -> None:
        """Free the model; the next one needs its memory."""
        core = getattr(self._engine, "engine_core", None)
        if core is not None:
            core.shutdown()
        del self._engine
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _completion(self, output: Any, read: int, began: float) -> Completion:
        ids = list(output.token_ids)
        return Completion(
            decode(self._tokenizer, ids),
            len(ids),
            read,
            output.finish_reason == "stop",
            perf_counter() - began,
        )


@dataclass(frozen=True)
class _Loaded:
    """A model in vLLM with what its answers are read by."""

    engine: Any
    tokenizer: Any
    params: Callable[..., Any]
    stop_ids: frozenset[int]
    repetition_penalty: float


class AsyncVllm:
    """A model in vLLM that is asked by many at once; it runs in a process of its own."""

    def __init__(self, loaded: _Loaded, *, delta: Any) -> None:
        self._engine = loaded.engine
        self._params = loaded.params
        self._delta = delta
        self.tokenizer = loaded.tokenizer
        self.stop_ids = loaded.stop_ids
        self.repetition_penalty = loaded.repetition_penalty
        self.context: int = loaded.engine.model_config.max_model_len

    async def stream(
        self, ids: list[int], arguments: dict[str, Any], number: int
    ) -> AsyncGenerator[Any]:
        """vLLM's outputs for one prompt, each with the tokens that are new; `number` is unique.

        Closing the generator ends the request.
        """
        params = self._params(**arguments, output_kind=self._delta)
        name = str(number)
        is_done = False
        try:
            async for output in self._engine.generate({"prompt_token_ids": ids}, params, name):
                is_done = output.finished
                yield output.outputs[0]
        finally:
            if not is_done:
                await self._engine.abort(name)

    def close(self) -> None:
        """End vLLM's process."""
        self._engine.shutdown()


def load_vllm(
    path: str,
    *,
    digest: str,
    tokenizer: str,
    chat_template: str,
    dtype: str,
    say: Callable[[str], None],
) -> VllmAnswerer:
    """Load a model's folder into vLLM; one of adapters is merged into the cache first.

    `digest` is that of all its weights, `tokenizer` the tokenizer's folder, `chat_template` as in
    `load_tokenizer`.
    """

    def make(arguments: dict[str, Any]) -> tuple[Any, Any]:
        prepare_environment(os.environ)
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]

        return LLM(**arguments), SamplingParams

    folder = _one_folder(path, digest=digest, dtype=dtype, say=say)
    loaded = _load(
        folder, tokenizer=tokenizer, chat_template=chat_template, dtype=dtype, make=make, say=say
    )
    return VllmAnswerer(
        loaded.engine,
        loaded.tokenizer,
        params=loaded.params,
        stop_ids=loaded.stop_ids,
        context=loaded.engine.llm_engine.model_config.max_model_len,
        repetition_penalty=loaded.repetition_penalty,
    )


def load_async(
    path: str,
    *,
    digest: str,
    tokenizer: str,
    chat_template: str,
    dtype: str,
    say: Callable[[str], None],
    at_once: int,
) -> AsyncVllm:
    """As `load_vllm`, to be asked by at most `at_once` at a time; more wait in vLLM."""
    found: list[Any] = []

    def make(arguments: dict[str, Any]) -> tuple[Any, Any]:
        # Its asynchronous engine runs in a process of its own only.
        prepare_environment(os.environ, {**_ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
        from vllm import AsyncEngineArgs, SamplingParams  # pyright: ignore[reportMissingImports]
        from vllm.sampling_params import (  # pyright: ignore[reportMissingImports]
            RequestOutputKind,
        )
        from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]

        found.append(RequestOutputKind.DELTA)
        wanted = AsyncEngineArgs(**arguments, max_num_seqs=at_once)
        return AsyncLLM.from_engine_args(wanted), SamplingParams

    folder = _one_folder(path, digest=digest, dtype=dtype, say=say)
    loaded = _load(
        folder, tokenizer=tokenizer, chat_template=chat_template, dtype=dtype, make=make, say=say,
        way_round="--engine transformers",
    )  # fmt: skip
    return AsyncVllm(loaded, delta=found[0])


def _load(
    folder: str,
    *,
    tokenizer: str,
    chat_template: str,
    dtype: str,
    make: Callable[[dict[str, Any]], tuple[Any, Any]],
    say: Callable[[str], None],
    way_round: str = _HINT,
) -> _Loaded:
    """What both ways of asking need; `make` is given the engine's arguments, and imports vLLM."""
    from transformers import GenerationConfig

    from zephyrctl.generation.choosing import repetition_penalty, unused_settings
    from zephyrctl.generation.engine import stop_ids

    own_code = require_safe(folder, tokenizer, version=package_version("vllm"), way_round=way_round)
    try:
        engine, params = make(engine_arguments(folder, tokenizer, dtype=dtype, own_code=own_code))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EnvironmentProblem(
            f"vLLM cannot load the model: {lines[0]}", where=folder, hint=way_round
        ) from error
    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:  # a model without a file of its own
        settings = GenerationConfig()
    unused = unused_settings(settings)
    if settings.suppress_tokens:
        unused.append("suppress_tokens")
    for name in unused:
        say(f"the model's generation setting {name} is not applied")
    ours = load_tokenizer(tokenizer, chat_template=chat_template)
    return _Loaded(engine, ours, params, stop_ids(settings, ours), repetition_penalty(settings))


def _one_folder(path: str, *, digest: str, dtype: str, say: Callable[[str], None]) -> str:
    """A folder with all weights of a model: its own, or its adapters merged once into the cache.

    vLLM takes one adapter at a time and no chain of them.
    """
    chain = chain_of(path)
    if not chain.adapters:
        return chain.base
    import torch

    from zephyrctl.generation.weights import cast, load_base, merged, quiet
    from zephyrctl.models.cache import find_or_build

    number_format = "bfloat16" if dtype == "auto" else dtype

    def build(folder: Path) -> None:
        say("merging the adapters into the cache for vLLM …")
        with quiet():
            model = load_base(chain.base, dtype=torch.float32)
            for adapter in chain.adapters:
                model = merged(model, adapter)
            cast(model, getattr(torch, number_format))
            model.save_pretrained(folder)

    entry = find_or_build(
        f"merged-{digest_json([digest, number_format])[:16]}",
        build=build,
        source=path,
        note=f"{len(chain.adapters)} adapters merged in float32, stored in {number_format}",
        say=say,
    )
    return str(entry.path)
