"""What does the model in training answer to a few held-out prompts?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from zephyrctl.data.messages import Message
from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import append_jsonl, read_jsonl
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import StageDir
from zephyrctl.training import sharding
from zephyrctl.training.sample_checks import Measures, measure

LONGEST = 128
"""Tokens of a sample; what is cut there counts as not stopped."""
AT_ONCE = 16
"""Prompts answered together; more would need memory that the training may have taken."""


class Sampler:
    """Greedy answers to fixed prompts, appended to `samples.jsonl` with the step."""

    def __init__(
        self, model: Any, tokenizer: Any, prompts: Sequence[list[Message]], folder: StageDir
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.folder = folder

    def take(self, *, step: int, reporter: Reporter) -> tuple[Measures, Measures | None] | None:
        """Answer the prompts with the weights as they are; rank 0 only, or every rank where the
        weights are shared out (`is_joint`). Greedy decoding draws no random numbers, so that
        samples never change the training.

        Returns what was measured on the answers, and on those before training where there are any;
        None where there is no prompt, where a request to stop came in between, and on other ranks.
        """
        if not self.prompts:
            return None
        return sharding.led_by_first(self.model, lambda: self._take(step, reporter))

    @property
    def is_joint(self) -> bool:
        """Whether every rank must call `take`."""
        return sharding.is_sharded(self.model)

    def _take(self, step: int, reporter: Reporter) -> tuple[Measures, Measures | None] | None:
        was_training = self.model.training
        self.model.eval()
        try:
            engine = Engine(self.model, self.tokenizer, path="the model in training")
            answers = engine.answer(
                self.prompts,
                sampling=Sampling(temperature=0.0, max_new_tokens=LONGEST),
                batch_size=min(AT_ONCE, len(self.prompts)),
            )
        except (Interrupted, Terminated):
            return None  # the end of this step answers the request, with a checkpoint
        finally:
            self.model.train(was_training)
        rows = [
            {
                "step": step,
                "prompt": prompt[-1].content,
                "completion": answer.text,
                "stopped": answer.stopped,
                "tokens": answer.tokens,
            }
            for prompt, answer in zip(self.prompts, answers, strict=True)
        ]
        before = [r for r in read_jsonl(self.folder.samples_path) if r["step"] == 0 and step > 0]
        for row in rows:
            append_jsonl(self.folder.samples_path, row)
        found = measure(rows)
        reporter.event("sample", step=step, n=len(rows), **asdict(found))
        return found, measure(before) if before else None
