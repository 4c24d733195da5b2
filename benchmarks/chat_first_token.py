"""How long does a person wait for the first word of a chat, and for the chat itself?

    python benchmarks/chat_first_token.py [--model smollm2-135m-instruct] [--turns 5]

Start-up is split into imports, loading and the first pass; then every turn of a conversation is
answered twice, with the keys of the turn before and without them. Seconds are of the clock; in
brackets the CPU seconds of this process, which a busy machine does not change. Exit 1 where a
first token took longer than the limit, which is promised for the quick start's model on a CPU.
Where others use the cores too, OMP_NUM_THREADS=1 keeps torch's threads from waiting for each other.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

LIMIT_S = 1.0
QUESTIONS = (
    "What is the capital of France?",
    "And of Italy? Answer in one sentence.",
    "Write two sentences about the sea, then list three colours that it may have.",
    "Explain to a child why the sky is blue, and why it is red in the evening.",
    "Which of your answers was the shortest?",
)


class Watch:
    """Seconds of the clock and of the CPU since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return f"{wall:6.2f} s  ({cpu:.2f} s CPU)"


def opened(model: str, device: str) -> Any:
    """The talker, with what its start took said on the way."""
    watch = Watch()
    from zephyrctl.chat.talker import open_local
    from zephyrctl.cli import talking
    from zephyrctl.config.layers import load
    from zephyrctl.generation.engine import Engine
    from zephyrctl.runs.references import resolve_model

    del talking, Engine  # what a chat imports, whether it is used here or not
    print(f"imports          {watch}")
    recipe = load().recipe
    ref = resolve_model(model, output_root=Path(recipe.output_root), recipe=recipe)
    watch = Watch()
    talker = open_local(ref, recipe=recipe, device=device)
    print(f"load             {watch}")
    watch = Watch()
    ask(talker, [], "Hi", tokens=1)
    talker.engine.forget()
    print(f"first pass       {watch}")
    heavy = [name for name in ("trl", "datasets", "peft", "scipy", "pandas") if name in sys.modules]
    print(f"imported         {len(sys.modules)} modules, of {', '.join(heavy) or 'no trainer'}")
    print(f"weights          {(talker.weight_bytes or 0) / 2**20:.0f} MiB, peak {peak_mib():.0f}")
    return talker


def peak_mib() -> float:
    """The most memory that this process had, in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ask(talker: Any, said: list[Any], question: str, *, tokens: int) -> Any:
    """The completion of one turn."""
    from zephyrctl.data.messages import Message
    from zephyrctl.generation.sampling import Sampling

    reply = talker.reply(
        [*said, Message("user", question)],
        sampling=Sampling(max_new_tokens=tokens),
        stop=lambda: False,
    )
    for _ in reply:
        pass
    return reply.completion


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=len(QUESTIONS))
    parser.add_argument("--tokens", type=int, default=48, help="longest reply")
    given = parser.parse_args()
    talker = opened(given.model, given.device)
    from zephyrctl.data.messages import Message

    said: list[Any] = []
    slowest = 0.0
    print("turn  prompt  kept   first token kept   read anew   ratio")
    for turn, question in enumerate(QUESTIONS[: given.turns]):
        kept = ask(talker, said, question, tokens=given.tokens)
        before = talker.engine.decoder.last
        talker.engine.forget()
        anew = ask(talker, said, question, tokens=1)
        talker.engine.decoder.last = before
        slowest = max(slowest, kept.first_s)
        print(
            f"{turn + 1:>4}  {kept.prompt_tokens:>6}  {kept.cached:>4}   {kept.first_s:>14.3f} s"
            f"  {anew.first_s:>8.3f} s  {anew.first_s / kept.first_s:>5.1f}x"
        )
        said += [Message("user", question), Message("assistant", kept.text)]
    mark = "over" if slowest > LIMIT_S else "ok"
    print(f"slowest first token {slowest:.3f} s  of {LIMIT_S:.1f}  {mark}")
    return 1 if slowest > LIMIT_S else 0


if __name__ == "__main__":
    sys.exit(main())
