"""Each machine finds out which one it is, and where the machines meet."""

import pytest

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ConfigError, EnvironmentProblem, UsageError, ZephyrctlError
from zephyrctl.launch.nodes import machine
from zephyrctl.launch.places import Place, first_host, own_address, parse_rendezvous, place_here

SLURM = {"SLURM_JOB_ID": "41", "SLURM_NODEID": "1", "SLURM_JOB_NODELIST": "gpu[003-004]"}
SKYPILOT = {"SKYPILOT_NODE_RANK": "2", "SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.6\n10.0.0.7"}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[003-007,9],login1", "gpu003"),
        ("gpu[9,003-007]", "gpu9"),
        ("rack[1-2]-node[07-09].site,other", "rack1-node07.site"),
        ("a-b-[12]", "a-b-12"),
    ],
)
def test_the_first_host_of_slurms_notation_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_slurm_and_skypilot_say_which_machine_this_is() -> None:
    two = Launch(nodes=2)
    assert place_here(two, SLURM) == Place(1, "gpu003:20041", "slurm-41.0.0")
    again = place_here(two, {**SLURM, "SLURM_RESTART_COUNT": "2", "SLURM_STEP_ID": "1"})
    assert again.attempt == "slurm-41.2.1"
    task = {**SKYPILOT, "SKYPILOT_TASK_ID": "sky-2026 11/x"}
    assert place_here(Launch(nodes=3), task) == Place(2, "10.0.0.5:29400", "sky-2026-11-x")


def test_what_is_given_goes_before_the_settings_and_these_before_a_clusters_address() -> None:
    named = Launch(nodes=2, rendezvous="10.1.1.1:7000", node_rank=0)
    assert place_here(named, {}).rank == 0
    assert place_here(named, SLURM) == Place(1, "10.1.1.1:7000", "slurm-41.0.0")
    given = place_here(named, SLURM, rank=0, rendezvous="h:1", attempt="a")
    assert given == Place(0, "h:1", "a")


def test_one_machine_needs_no_place() -> None:
    assert place_here(Launch(), SLURM) == Place(0, None, "alone")
    assert machine(Launch(), ["data", "sft"]) is None


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        ({"nodes": 2, "rendezvous": "h:1"}, ["launch.nodes is 2", "NODE_RANK=0"]),
        ({"nodes": 2, "rendezvous": "h:1", "node_rank": 2}, ["numbered 0 to 1", "nodes=3"]),
        ({"nodes": 2, "node_rank": 1}, ["an address to meet at", "launch.rendezvous=HOST"]),
    ],
)
def test_settings_that_do_not_tell_are_refused(launch: dict[str, object], words: list[str]) -> None:
    settings = Launch.model_validate(launch)
    for attempt in (lambda: machine(settings, ["sft"]), lambda: place_here(settings, {})):
        with pytest.raises(ConfigError) as caught:
            attempt()
        said = f"{caught.value.message} {caught.value.hint}"
        assert caught.value.exit_code == 2
        assert all(word in said for word in words)


def test_a_number_below_the_first_is_refused() -> None:
    with pytest.raises(ConfigError, match="numbered 0 to 1"):
        place_here(Launch(nodes=2, rendezvous="h:1"), {}, rank=-1)


def test_stages_of_one_machine_need_no_number() -> None:
    assert machine(Launch(nodes=2), ["data"]) is None
    assert machine(Launch(nodes=2), ["eval", "report"]) is None
    assert machine(Launch(nodes=2, node_rank=1, rendezvous="127.0.0.1:1"), ["data", "dpo"]) == 1


def test_the_own_address_is_the_one_on_the_way_to_machine_0() -> None:
    assert own_address("127.0.0.1:29400") == "127.0.0.1"
    with pytest.raises(EnvironmentProblem, match=r"cannot be reached at no\.such\.host\.invalid"):
        own_address("no.such.host.invalid:29400")


@pytest.mark.parametrize("text", ["host", "host:", ":1", "a b:1", "h:1;rm", "h:1234567"])
def test_an_address_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_rendezvous(text)
    assert isinstance(caught.value, ZephyrctlError)
    assert parse_rendezvous("gpu-1.site:29400") == "gpu-1.site:29400"
