"""A process that has imported torch and TRL once and forks a child for each drill.

It reads one JSON object a line, {"run", "stage", "env", "ranks"}, starts the worker's own `main` in
that many forked processes, and answers {"codes": [...]}. Variables of the tests' own make each
process write down what it does (`sync_record`) or break its loss (`infinite_loss`). It never trains
itself: autograd does not survive a fork.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback

import infinite_loss
import sync_record
import trl.trainer.dpo_trainer

import zephyrctl.training.dpo
import zephyrctl.training.sft
from zephyrctl import worker

PRELOADED = (trl.trainer.dpo_trainer, zephyrctl.training.dpo, zephyrctl.training.sft)


def main() -> None:
    """Serve drills until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # no child searches, and by that copies, what was imported here
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        order = json.loads(line)
        port = free_port()
        children = [start(order, rank, port=port) for rank in range(order["ranks"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        answers.write(json.dumps({"codes": codes}) + "\n")


def start(order: dict, rank: int, *, port: int) -> int:
    """Fork one rank; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.environ |= order["env"]
        if order["ranks"] > 1:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(order["ranks"]),
                "LOCAL_WORLD_SIZE": str(order["ranks"]), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }  # fmt: skip
        if sync_record.FOLDER in os.environ:
            sync_record.install()
        if infinite_loss.WHERE in os.environ:
            infinite_loss.install()
        code = worker.main(["--run", order["run"], "--stage", order["stage"]])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
