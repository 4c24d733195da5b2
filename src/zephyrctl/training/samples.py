"""What does the model in training answer to a few held-out prompts?"""

from collections.abc import Sequence
from typing import Any

from zephyrctl.data.messages import Message
from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import append_jsonl, read_jsonl
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import StageDir
from zephyrctl.training import health

LONGEST = 128
"""Tokens of a sample; what is cut there counts as not stopped."""


class Sampler:
    """Greedy answers to fixed prompts, appended to `samples.jsonl` with the step."""

    def __init__(
        self, model: Any, tokenizer: Any, prompts: Sequence[list[Message]], folder: StageDir
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.folder = folder

    def take(self, *, step: int, reporter: Reporter) -> None:
        """Answer the prompts with the weights as they are; rank 0 only. Greedy decoding draws no
        random numbers, so that samples never change the training."""
        if not self.prompts:
            return
        was_training = self.model.training
        self.model.eval()
        try:
            engine = Engine(self.model, self.tokenizer, path="the model in training")
            answers = engine.answer(
                self.prompts,
                sampling=Sampling(temperature=0.0, max_new_tokens=LONGEST),
                batch_size=len(self.prompts),
            )
        except (Interrupted, Terminated):
            return  # the end of this step answers the request, with a checkpoint
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
        reporter.event("sample", step=step, n=len(rows))
        for text in health.samples(rows, before):
            reporter.notice(f"step {step}: {text}", level="warning")
