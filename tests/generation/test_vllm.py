"""vLLM's arguments as data, and the loop round it on a stand-in; vLLM itself does not run here."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tests.generation.test_engine import PROMPTS, ask, save_adapter
from transformers import AutoModelForCausalLM

from zephyrctl import environment
from zephyrctl.environment import Gpu
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation import vllm
from zephyrctl.generation.engine import load_engine
from zephyrctl.generation.sampling import Completion, Sampling

NEW = Gpu(index=0, uuid="a", name="H100", memory_mib=81920, free_mib=81000, capability="9.0")
OLD = Gpu(index=1, uuid="b", name="V100", memory_mib=16384, free_mib=16000, capability="7.0")
GREEDY = Sampling(max_new_tokens=12)


def test_every_sampling_setting_has_its_argument() -> None:
    hot = Sampling(temperature=0.7, top_p=0.9, top_k=40, max_new_tokens=1024, seed=3)
    given = vllm.sampling_arguments(
        hot, [5, 6], limit=300, stop_ids=frozenset({2, 1}), repetition_penalty=1.1
    )
    assert given == {
        "n": 1, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "seed": hot.seed_for([5, 6]) >> 1,
        "max_tokens": 300, "repetition_penalty": 1.1, "stop_token_ids": [1, 2],
        "detokenize": False,
    }  # fmt: skip


def test_greedy_decoding_draws_nothing() -> None:
    almost = Sampling(temperature=1e-5, top_p=0.5, top_k=3, seed=3, max_new_tokens=7)
    given = vllm.sampling_arguments(almost, [5], limit=300, stop_ids=frozenset())
    assert [given[name] for name in ("temperature", "top_p", "top_k", "seed", "max_tokens")] == [
        0.0, 1.0, 0, None, 7,
    ]  # fmt: skip


def test_seeds_differ_by_prompt_and_by_seed_and_fit_63_bits() -> None:
    seeds = {
        vllm.sampling_arguments(
            Sampling(temperature=1.0, seed=seed), [prompt], limit=9, stop_ids=frozenset()
        )["seed"]
        for seed in range(4)
        for prompt in range(50)
    }
    assert len(seeds) == 200
    assert 0 <= min(seeds) <= max(seeds) < 2**63


def test_the_model_is_loaded_without_its_own_sampling_defaults_or_code() -> None:
    assert vllm.engine_arguments("m", "t", dtype="auto") == {
        "model": "m", "tokenizer": "t", "dtype": "bfloat16", "seed": 0, "trust_remote_code": False,
        "generation_config": "vllm", "disable_log_stats": True,
    }  # fmt: skip
    assert vllm.engine_arguments("m", "t", dtype="float32")["dtype"] == "float32"


@pytest.mark.parametrize(
    ("setting", "visible", "has_vllm", "name", "said"),
    [
        ("transformers", [NEW], True, "transformers", ""),
        ("auto", [NEW], True, "vllm", "drawn otherwise"),
        ("vllm", [NEW], True, "vllm", "drawn otherwise"),
        ("auto", [NEW], False, "transformers", "not installed"),
        ("auto", [OLD], True, "transformers", "no GPU that computes in bfloat16"),
        ("auto", [], True, "transformers", "no GPU"),
        ("auto", [], False, "transformers", ""),
    ],
)
def test_the_engine_follows_the_setting_and_the_machine_and_a_fallback_is_said(
    setting: str, visible: list[Gpu], has_vllm: bool, name: str, said: str
) -> None:
    chosen, notices = vllm.choose(setting, visible=visible, installed=visible, has_vllm=has_vllm)
    assert chosen == name
    assert bool(notices) == bool(said)
    assert said in " ".join(notices)


@pytest.mark.parametrize(
    ("device", "name"), [("auto", "vllm"), ("cuda", "vllm"), ("cuda:1", "transformers"),
                         ("cpu", "transformers")],
)  # fmt: skip
def test_a_device_asked_for_by_name_is_transformers(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in ("visible_gpus", "installed_gpus"):
        monkeypatch.setattr(environment, found, lambda: [NEW])
    monkeypatch.setattr(vllm, "is_installed", lambda: True)
    assert vllm.choose_here("auto", device=device)[0] == name
    if name == "transformers":
        with pytest.raises(UsageError, match=f"not '{device}'"):
            vllm.choose_here("vllm", device=device)


def test_processes_with_different_gpus_choose_alike() -> None:
    choices = {
        vllm.choose("auto", visible=[gpu], installed=[NEW, OLD], has_vllm=True)[0]
        for gpu in (NEW, OLD)
    }
    assert choices == {"transformers"}


@pytest.mark.parametrize(
    ("visible", "has_vllm", "match"), [([NEW], False, "not installed"), ([], True, "needs GPUs")]
)
def test_vllm_by_name_is_refused_where_it_cannot_run(
    visible: list[Gpu], has_vllm: bool, match: str
) -> None:
    with pytest.raises(EnvironmentProblem, match=match) as caught:
        vllm.choose("vllm", visible=visible, installed=visible, has_vllm=has_vllm)
    assert "eval.engine=transformers" in (caught.value.hint or "")


def test_it_runs_in_this_process_and_does_not_join_torchruns_store() -> None:
    env = {
        "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True", "RANK": "1",
        "VLLM_CONFIGURE_LOGGING": "1",
    }  # fmt: skip
    vllm.prepare_environment(env)
    assert env == {
        "RANK": "1", "VLLM_CONFIGURE_LOGGING": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip


@dataclass
class StandIn:
    """`vllm.LLM`, as far as it is used: greedy decoding by transformers, the last asked first."""

    model: str
    tokenizer: str
    options: dict[str, Any]
    asked: list[tuple[str, Any, Any]] = field(default_factory=list)
    is_down: bool = False

    def __post_init__(self) -> None:
        self.weights: Any = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32)
        self.llm_engine = self
        self.model_config = SimpleNamespace(
            max_model_len=self.weights.config.max_position_embeddings
        )
        self.engine_core = SimpleNamespace(shutdown=lambda: setattr(self, "is_down", True))

    def add_request(self, request_id: str, prompt: Any, params: Any) -> None:
        self.asked.append((request_id, prompt, params))

    def step(self) -> list[Any]:
        request_id, prompt, params = self.asked.pop()
        ids = torch.tensor([prompt["prompt_token_ids"]])
        out = self.weights.generate(
            ids,
            max_new_tokens=params.max_tokens,
            do_sample=False,
            eos_token_id=params.stop_token_ids,
        )[0, ids.shape[1] :].tolist()
        reason = "stop" if out[-1] in params.stop_token_ids else "length"
        done = SimpleNamespace(token_ids=out, finish_reason=reason)
        early = SimpleNamespace(request_id=request_id, finished=False, outputs=[])
        return [early, SimpleNamespace(request_id=request_id, finished=True, outputs=[done])]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[StandIn]:
    """A module `vllm` whose models are kept in the list."""
    made: list[StandIn] = []

    def llm(*, model: str, tokenizer: str, **options: Any) -> StandIn:
        made.append(StandIn(model, tokenizer, options))
        return made[-1]

    module = ModuleType("vllm")
    module.LLM = llm  # pyright: ignore[reportAttributeAccessIssue]
    module.SamplingParams = SimpleNamespace  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    for name in vllm._ENVIRONMENT:  # what it sets is taken back after the test
        monkeypatch.setenv(name, "1")
    return made


def answers_of(path: str, tokenizer: str, said: list[str]) -> list[Completion]:
    answerer = vllm.load_vllm(
        path, digest="d", tokenizer=tokenizer, chat_template="zephyr", dtype="float32",
        say=said.append,
    )  # fmt: skip
    done: dict[int, Completion] = {}
    too_long = ask("pasta " * 2000)
    answerer.answer([*PROMPTS, too_long], sampling=GREEDY, on_done=done.__setitem__)
    answerer.close()
    assert "and the model reads 1024" in (done.pop(len(PROMPTS)).problem or "")
    return [done[index] for index in range(len(PROMPTS))]


def plain(completions: list[Completion]) -> list[tuple[str, int, int, bool]]:
    return [(c.text, c.tokens, c.prompt_tokens, c.stopped) for c in completions]


def test_the_same_token_ids_give_the_same_greedy_answers(
    tiny_base: Path, loaded: list[StandIn]
) -> None:
    answers = answers_of(str(tiny_base), str(tiny_base), [])
    ours = load_engine(str(tiny_base), dtype="float32", chat_template="zephyr")
    assert plain(answers) == plain(ours.answer(PROMPTS, sampling=GREEDY, batch_size=2))
    (model,) = loaded
    assert model.is_down
    assert (model.model, model.tokenizer) == (str(tiny_base), str(tiny_base))


def test_adapters_are_merged_into_the_cache_once(
    tiny_base: Path, tmp_path: Path, loaded: list[StandIn]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    model = save_adapter(tiny_base, tmp_path / "sft", seed=1, over=model)
    save_adapter(tmp_path / "sft", tmp_path / "dpo", seed=2, over=model)
    said: list[str] = []
    answers = [answers_of(str(tmp_path / "dpo"), str(tiny_base), said) for _ in range(2)]
    ours = load_engine(str(tmp_path / "dpo"), dtype="float32", chat_template="zephyr")
    wanted = plain(ours.answer(PROMPTS, sampling=GREEDY, batch_size=5))
    assert [plain(found) for found in answers] == [wanted, wanted]
    assert [text for text in said if text.startswith("merging")] == [
        "merging the adapters into the cache for vLLM …"
    ]
    (folder,) = {model.model for model in loaded}
    assert "2 adapters merged" in json.loads((Path(folder) / "source.json").read_text())["note"]


def test_what_vllm_cannot_load_is_an_error_with_the_way_round_it(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, loaded: list[StandIn]
) -> None:
    def refuse(**_: Any) -> None:
        raise ValueError("Model architectures ['MambaForCausalLM'] are not supported\nfor now")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", refuse)
    with pytest.raises(EnvironmentProblem, match=r"are not supported$") as caught:
        answers_of(str(tiny_base), str(tiny_base), [])
    assert "eval.engine=transformers" in (caught.value.hint or "")
