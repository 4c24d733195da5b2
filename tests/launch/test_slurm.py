"""Stages run as jobs of a real Slurm cluster of two nodes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.launch.slurm_cluster import Cluster, left_of, required
from tests.launch.slurm_follow import plan_for, settings_for

from zephyrctl.cli import doctor_slurm
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    DataError,
    EnvironmentProblem,
    Terminated,
    TrainingDiverged,
    UsageError,
    ZephyrctlError,
)
from zephyrctl.launch.slurm import controller, jobs, record
from zephyrctl.launch.slurm.submission import submission
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, StageName, open_run

REPOSITORY = Path(__file__).parents[2]
CANARY = "canary-7f3a90c1"


@pytest.fixture
def say() -> list[str]:
    """What a follower said."""
    return []


@pytest.fixture
def start(
    run: Run, slurm: Cluster, say: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Carry out a stage of the run on the cluster, in this process."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)

    def carry_out(
        stage: StageName, work: str = "finish", *, into: Run = run, **settings: Any
    ) -> None:
        monkeypatch.setenv("ZEPHYRCTL_TEST_WORK", work)
        launch = settings_for(**settings)
        jobs.start(plan_for(into, stage, launch), launch, on_stop=say.append)

    return carry_out


@pytest.fixture
def follow(run: Run, slurm: Cluster) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a process that carries out the data stage, and which can be interrupted."""

    def begin(work: str, *, hold: bool = False, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "tests.launch.slurm_follow", str(run.root)]
            + (["--hold"] if hold else []),
            env={**os.environ, **slurm.env, "ZEPHYRCTL_TEST_WORK": work, **env},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


def _wait_for(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _end(child: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    output, _ = child.communicate(timeout=90)
    return child.returncode, output.splitlines()


def _job(run: Run) -> str:
    standing = record.read(run.stage("data"))
    assert standing is not None
    assert standing.job is not None
    return standing.job


def _ended(run: Run, stage: StageName = "data") -> tuple[str, int]:
    standing = record.read(run.stage(stage))
    assert standing is not None
    assert standing.ended is not None
    return standing.ended["state"], standing.ended["exit_code"]


def _ready(run: Run) -> bool:
    return (run.stage("data").path / "ready").exists()


def test_two_nodes_add_over_gloo(start: Callable[..., None], run: Run, say: list[str]) -> None:
    start("sft", nodes=2)
    manifest = run.stage("sft").read_manifest()
    assert manifest is not None
    # 1 + 2 on both.
    assert (manifest.state, manifest.world_size, manifest.metrics) == ("finished", 2, {"total": 3})
    assert _ended(run, "sft") == ("COMPLETED", 0)
    assert "submitted; it goes on if this command is killed" in say[0]


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [("refuse", DataError, "row 3 is broken"), ("diverge", TrainingDiverged, "the loss is NaN")],
)
def test_the_error_of_the_stage_arrives(
    start: Callable[..., None],
    run: Run,
    work: str,
    kind: type[ZephyrctlError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        start("data", work)
    assert _ended(run) == ("FAILED", kind.exit_code)


def test_a_job_that_is_told_to_stop_saves_goes_back_into_the_queue_and_finishes(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    child = follow("save")
    _wait_for(lambda: _ready(run))
    job = _job(run)
    slurm("scancel", "--signal=TERM", job)
    _wait_for(lambda: slurm.job(job)["Restarts"] == "1")
    slurm.start_again(job)
    code, output = _end(child)
    assert (code, output[-1]) == (0, "finished")
    assert any(f"Slurm job {job} is put back into the queue (restart 1)" in line for line in output)
    manifest = run.stage("data").read_manifest()
    assert manifest is not None
    assert (manifest.attempts, manifest.metrics) == (2, {"restarts": 1})


def test_ctrl_c_lets_the_job_save_and_does_not_put_it_back(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    child = follow("save")
    _wait_for(lambda: _ready(run))
    child.send_signal(signal.SIGINT)
    code, output = _end(child)
    assert code == 130
    assert any("up to 10 s to save (Ctrl-C again to kill)" in line for line in output)
    assert "checkpoint-5 stands" in json.loads(output[-1])["message"]
    assert slurm.job(_job(run))["JobState"] == "FAILED"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_waiting_job_is_removed_when_the_command_is_stopped(
    follow: Callable[..., "subprocess.Popen[str]"],
    run: Run,
    slurm: Cluster,
    sent: signal.Signals,
    code: int,
) -> None:
    child = follow("finish", hold=True)
    assert child.stdout is not None
    while "is pending (JobHeldUser)" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(sent)
    assert _end(child)[0] == code
    assert slurm.job(_job(run))["JobState"] == "CANCELLED"
    assert not run.stage("data").manifest_path.exists()


def test_a_second_ctrl_c_ends_a_deaf_job_at_once(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    child = follow("deaf")
    assert child.stdout is not None
    _wait_for(lambda: _ready(run))
    child.send_signal(signal.SIGINT)
    while "Ctrl-C again to kill" not in child.stdout.readline():
        assert child.poll() is None
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert _end(child)[0] == 130
    assert time.monotonic() - began < 8  # the grace is 10 s
    assert slurm.job(_job(run))["JobState"] == "CANCELLED"


def test_the_command_again_follows_the_job_that_its_killed_predecessor_left(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    child = follow("wait")
    _wait_for(lambda: _ready(run))
    job = _job(run)
    child.kill()
    child.communicate()
    again = follow("wait")
    assert again.stdout is not None
    assert f"follows Slurm job {job}; it goes on" in again.stdout.readline()
    assert slurm.job(job)["JobState"] == "RUNNING"
    slurm("scancel", job)
    code, output = _end(again)
    assert code == 143
    error = json.loads(output[-1])
    assert f"Slurm job {job} was cancelled, and nothing was saved" in error["message"]
    assert _job(run) == job
    assert slurm("squeue", "--noheader") == ""


def test_a_job_whose_number_was_never_written_down_is_found_by_its_mark(
    run: Run, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    folder = run.stage("data")
    settings = settings_for(options=["--hold"])
    given = submission(
        plan_for(run, "data", settings), settings, environ=os.environ, mark="zephyrctl-a1b2",
        folder=Path.cwd(),
    )  # fmt: skip
    folder.logs.mkdir(parents=True)
    record.begin(folder, mark="zephyrctl-a1b2", command=given.argv, log_starts=0)
    job = controller.submit(given.argv, env=given.env)
    assert jobs.at_work(folder) == job
    controller.cancel(job)
    _wait_for(lambda: jobs.at_work(folder) is None)


def test_an_unheard_submission_is_looked_for_before_another_is_made(
    start: Callable[..., None],
    run: Run,
    slurm: Cluster,
    say: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as here:
        settings = settings_for()
        here.setenv("SLURM_CONF", slurm.unanswered(tmp_path))
        with pytest.raises(EnvironmentProblem, match="did not say whether it took the job"):
            jobs.start(plan_for(run, "data", settings), settings)
    assert not run.stage("data").manifest_path.exists()

    # The controller takes the job, and its answer is lost on the way.
    real = shutil.which("sbatch")
    lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    fake = tmp_path / "sbatch"
    fake.write_text(f'#!/bin/sh\n{real} "$@" >/dev/null\necho "{lost}" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    start("data")
    assert _ended(run) == ("COMPLETED", 0)
    assert f"Slurm job {_job(run)} submitted" in say[0]


def test_a_stop_that_came_before_the_submission_submits_nothing(
    start: Callable[..., None], run: Run
) -> None:
    with signals.noting():
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        with pytest.raises(Terminated):
            start("data")
    finally:
        signals.clear()
    assert record.read(run.stage("data")) is None


def test_an_error_of_an_earlier_job_is_not_told_of_this_one(
    start: Callable[..., None], run: Run
) -> None:
    with pytest.raises(DataError):
        start("data", "refuse")
    with pytest.raises(EnvironmentProblem, match="cannot run zephyrctl with /nowhere/python"):
        start("data", python="/nowhere/python")


def test_a_working_folder_behind_a_link_is_seen_by_the_nodes(
    start: Callable[..., None], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))  # as a shell sets it
    start("data")
    assert _ended(run) == ("COMPLETED", 0)


def test_an_option_with_which_sbatch_submits_nothing_is_an_error(
    start: Callable[..., None], run: Run
) -> None:
    with pytest.raises(UsageError, match="sbatch submitted no job"):
        start("data", options=["--version"])
    assert record.read(run.stage("data")) is None


def test_a_users_defaults_for_slurms_commands_hide_no_job_and_ask_nothing_back(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    defaults = {"SCANCEL_INTERACTIVE": "true", "SCANCEL_PARTITION": "closed"}
    child = follow("finish", hold=True, SQUEUE_STATES="RUNNING", **defaults)
    assert child.stdout is not None
    while "is pending (JobHeldUser)" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    assert _end(child)[0] == 130
    assert slurm.job(_job(run))["JobState"] == "CANCELLED"


@pytest.mark.parametrize(
    ("settings", "kind", "message", "hint"),
    [
        ({"partition": "nowhere"}, UsageError, "invalid partition specified: nowhere", "sinfo"),
        (
            {"python": "/nowhere/python"},
            EnvironmentProblem,
            "node n1 cannot run zephyrctl with /nowhere/python",
            "launch.slurm.python",
        ),
        (
            {"modules": ["cuda/13.0"]},
            EnvironmentProblem,
            "node n1 cannot load the module cuda/13.0",
            "module avail",
        ),
    ],
)
def test_what_cannot_work_ends_at_once_and_says_what_to_change(
    start: Callable[..., None],
    settings: dict[str, Any],
    kind: type[ZephyrctlError],
    message: str,
    hint: str,
) -> None:
    with pytest.raises(kind, match=message) as caught:
        start("data", **settings)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("options", [[], ["--nodelist=n2"]])
def test_a_node_that_does_not_see_the_run_folder_ends_the_job(
    start: Callable[..., None], slurm: Cluster, options: list[str]
) -> None:
    if slurm.only_on_n1 is None:
        pytest.skip("this machine lets nobody hide a folder from a process")
    hidden = slurm.only_on_n1 / f"runs{len(options)}"
    recipe = Recipe(name="mine", output_root=str(hidden))
    run = open_run(recipe)
    write_json(run.config_path, recipe.model_dump(mode="json"))
    stage, nodes = ("data", 1) if options else ("sft", 2)
    with pytest.raises(EnvironmentProblem) as caught:
        start(stage, into=run, nodes=nodes, options=options)
    assert "--set output_root=FOLDER" in str(caught.value.hint)
    if not options:
        assert f"node n2 does not see the run folder {run.root}" in caught.value.message


def test_secrets_reach_the_job_and_stand_nowhere(
    follow: Callable[..., "subprocess.Popen[str]"], run: Run, slurm: Cluster
) -> None:
    child = follow("tell", HF_TOKEN=CANARY, AWS_SECRET_ACCESS_KEY=CANARY)
    _wait_for(lambda: _ready(run))
    job = _job(run)
    seen = [
        slurm("scontrol", "show", "job", job),
        slurm("scontrol", "write", "batch_script", job, "-"),
        subprocess.run(["ps", "-ef"], capture_output=True, text=True, check=True).stdout,
        *(path.read_text(errors="replace") for path in slurm.folder.glob("*.log")),
    ]
    (run.stage("data").path / "seen").touch()
    code, output = _end(child)
    assert code == 0, output
    seen += [*output, *(p.read_text() for p in run.root.rglob("*") if p.is_file())]
    assert not [text for text in seen if CANARY in text]
    handed = json.loads((run.stage("data").path / "handed.json").read_text())
    assert handed["HF_TOKEN"] == hashlib.sha256(CANARY.encode()).hexdigest()
    assert "AWS_SECRET_ACCESS_KEY" not in handed
    assert any("not handed to the job: AWS_SECRET_ACCESS_KEY" in line for line in output)


def test_the_doctor_tells_what_the_cluster_has(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    (machine,) = doctor_slurm.check_machine()
    assert "main (default, 2 nodes, gpu:2), closed (not up, 1 node, gpu:2)" in machine.text

    def states(**launch: Any) -> list[str]:
        asked = Recipe.model_validate({"launch": {"backend": "slurm", **launch}})
        return [finding.state for finding in doctor_slurm.check(asked)]

    assert doctor_slurm.check(Recipe()) == []
    assert states(gpus_per_node=2, nodes=2) == ["ok"]
    assert states(gpus_per_node=2, nodes=3) == ["problem"]
    assert states(gpus_per_node=2, slurm={"partition": "closed"}) == ["problem"]
    assert states(gpus_per_node=2, slurm={"partition": "nowhere"}) == ["problem"]
    assert states(nodes=2) == ["ok", "problem"]
    monkeypatch.setenv("SLURM_CONF", slurm.unanswered(tmp_path))
    assert [finding.state for finding in doctor_slurm.check_machine()] == ["warning"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert doctor_slurm.check_machine() == []
    assert states(gpus_per_node=2) == ["problem"]


def test_no_daemon_and_no_job_survives_a_killed_test_session(tmp_path: Path) -> None:
    required()
    script = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from tests.launch.slurm_cluster import cluster\n"
        "with cluster(Path(sys.argv[1])) as c:\n"
        "    c('sbatch', '-o', '/dev/null', '--wrap', 'sleep 300')\n"
        "    print('up', flush=True)\n"
        "    time.sleep(300)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    _wait_for(lambda: len(left_of(tmp_path)) >= 6)  # the keeper, four daemons and a job's step
    child.kill()
    child.communicate()
    _wait_for(lambda: not left_of(tmp_path), seconds=20)


def test_where_slurm_is_not_the_error_names_the_other_way(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    settings = settings_for()
    with pytest.raises(EnvironmentProblem, match="sbatch is not on this machine") as caught:
        jobs.start(plan_for(run, "data", settings), settings)
    assert "--set launch.backend=local" in str(caught.value.hint)
