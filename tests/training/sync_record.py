"""What two processes of a training do between two updates, written down from inside each.

`install` is called in a forked rank before its stage starts. Each rank appends to a file of its
own: "pass" for a forward pass in training, "reduce N" for each bucket of gradients that is summed
over the processes, and "step DIGEST" after an update, with the digest of all weights.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_post_hook

FOLDER = "ZEPHYRCTL_TEST_SYNC"


def install() -> None:
    """Write down passes, reductions and updates of this process."""
    path = Path(os.environ[FOLDER]) / f"rank{os.environ['RANK']}"
    built, passed = DistributedDataParallel.__init__, DistributedDataParallel.forward

    def say(text: str) -> None:
        with path.open("a") as file:
            file.write(text + "\n")

    def hook(state: Any, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        say(f"reduce {bucket.index()}")
        return allreduce_hook(state, bucket)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        self.register_comm_hook(None, hook)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            say("pass")
        return passed(self, *args, **kwargs)

    def stepped(optimizer: Any, *_: Any) -> None:
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        whole = b"".join(w.detach().float().numpy().tobytes() for w in weights)
        say(f"step {hashlib.sha256(whole).hexdigest()}")

    DistributedDataParallel.__init__ = init  # type: ignore[method-assign]
    DistributedDataParallel.forward = forward  # type: ignore[method-assign]
    register_optimizer_step_post_hook(stepped)
