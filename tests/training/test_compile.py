"""Compiled decoder layers compute what eager ones do, for every length, under the same names."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.training.tiny_models import documents, gradients, mistral, padded
from torch._dynamo.utils import counters
from torch._inductor import config as inductor
from torch._inductor import cpp_builder, exc

from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.training import attention, recompute
from zephyrctl.training.compile import check_compiler, compile_layers

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*is deprecated:FutureWarning"),
]

# Everything of compilation but the C++ compiler, which takes half a minute for one layer.
GRAPHS = "eager"


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def compiled(model: Any) -> Any:
    twin = copy.deepcopy(model)
    assert compile_layers(twin, where="sft.compile", backend=GRAPHS) == 2
    return twin


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def test_padded_batches_of_many_sizes_share_two_graphs_and_change_nothing() -> None:
    model = mistral()
    names = list(model.state_dict())
    twin = compiled(model)
    sizes = [(2, 17), (3, 33), (1, 40), (1, 41), (4, 9), (5, 21)]
    for rows, length in sizes:
        batch = padded(rows, length)
        assert torch.allclose(gradients(twin, batch), gradients(model, batch), atol=1e-6)
    assert list(twin.state_dict()) == names
    # One for several rows and one for a single row; both layers share them.
    assert graphs() == 2


@pytest.mark.parametrize("setting", ["none", "full", "selective"])
def test_packed_documents_of_any_number_and_length_share_one_set_of_graphs(setting: str) -> None:
    model = mistral()
    attention.install(model)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        if setting == "selective":
            recompute.keep_attention(each)
        if setting != "none":
            each.activation_checkpointing_enable()
    compile_layers(twin, where="sft.compile", backend=GRAPHS)
    first = 0
    for lengths in ([5, 9], [3, 4, 12], [7], [20, 2, 2, 2], [30, 30]):
        batch = documents(*lengths)
        assert torch.allclose(gradients(twin, batch), gradients(model, batch), atol=1e-6)
        first = first or graphs()
    assert 0 < first == graphs()


def test_adapters_are_trained_through_compiled_layers() -> None:
    model = mistral(layers=3)
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    peft: Any = get_peft_model(model, settings)
    twin = copy.deepcopy(peft)
    names = list(peft.state_dict())
    compile_layers(twin.get_base_model(), where="sft.compile", backend=GRAPHS)
    assert torch.allclose(gradients(twin, padded(3, 11)), gradients(peft, padded(3, 11)), atol=1e-6)
    assert list(twin.state_dict()) == names
    # The first of the three layers gets embeddings, which are frozen: no gradient goes there.
    assert graphs() == 2
    with twin.disable_adapter(), peft.disable_adapter():
        assert torch.equal(twin(**padded(3, 11)).logits, peft(**padded(3, 11)).logits)


def test_a_copy_of_a_compiled_model_computes_with_its_own_weights() -> None:
    twin = compiled(mistral())
    other = copy.deepcopy(twin)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    expected = mistral()
    expected.load_state_dict(other.state_dict())
    batch = padded(2, 9)
    assert torch.allclose(other(**batch).loss, expected(**batch).loss, atol=1e-6)


def test_generation_with_a_cache_stays_eager() -> None:
    model = mistral().eval()
    twin = compiled(model)
    prompt = torch.ones(1, 4, dtype=torch.long)
    options: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "use_cache": True}
    found = twin.generate(prompt, **options)
    assert torch.equal(found, model.generate(prompt, **options))
    assert graphs() == 0


def test_selective_checkpointing_needs_attention_that_stays_outside() -> None:
    model = mistral()
    recompute.keep_attention(model)
    with pytest.raises(ConfigError, match="selective") as caught:
        compile_layers(model, where="dpo.compile", backend=GRAPHS)
    assert "dpo.compile=false" in str(caught.value.hint)


def test_dora_is_refused() -> None:
    model = mistral()
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", use_dora=True))
    with pytest.raises(ConfigError, match="DoRA"):
        compile_layers(model, where="sft.compile", backend=GRAPHS)


def test_a_machine_without_a_compiler_is_named() -> None:
    settings = {"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}
    with (
        inductor.patch(settings),
        pytest.raises(EnvironmentProblem, match=r"C\+\+ compiler") as caught,
    ):
        check_compiler("cpu", where="sft.compile")
    assert caught.value.hint == "--set sft.compile=false"


def test_this_machines_compiler_compiles() -> None:
    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        pytest.skip("no C++ compiler on this machine")
    # In a process of its own, as in a training: setuptools, which Inductor loads, refuses to work
    # where another test has loaded the old distutils first.
    code = "from zephyrctl.training.compile import check_compiler as c; c('cpu', where='sft')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
