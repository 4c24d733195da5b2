"""What in the numbers of a training run should worry its owner?

Pure checks, each of which returns a sentence or nothing. Bands come from the published runs of the
Zephyr recipe (shared/reference/zephyr-recipe.md §7).
"""

from collections.abc import Mapping, Sequence

Values = Mapping[str, float]

TOO_GOOD_ACCURACY = 0.97
DISPLACEMENT = 1.75
"""Chosen log-probs this many times as low as at the start count as drift (C6: −285 → −500)."""
MIN_RECORDS = 8
STUCK = 0.995
"""A loss that kept more than this share of itself, first quarter of the records to last."""


def loss_is_zero(values: Values) -> str | None:
    """A loss of exactly 0 means that no token is trained or that precision is broken."""
    if values.get("loss") == 0.0:
        return "the training loss is exactly 0: no token is trained, or the precision is broken"
    return None


def loss_is_stuck(losses: Sequence[float], *, share_done: float) -> str | None:
    """`losses` are means of the windows so far, in order."""
    if share_done < 0.5 or len(losses) < MIN_RECORDS:
        return None
    quarter = len(losses) // 4
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    if last >= STUCK * first:
        return (
            f"the training loss does not fall ({first:.3f} at first, {last:.3f} lately): is the "
            "learning rate too low?"
        )
    return None


def preferences(start: Values, now: Values, *, share_done: float) -> list[str]:
    """Notices on held-out preference metrics against those before training."""
    said: list[str] = []
    accuracy = now["rewards/accuracies"]
    if share_done >= 0.5 and accuracy < 0.5:
        said.append(
            f"held-out reward accuracy is {accuracy:.2f}, under chance: are chosen and rejected "
            "swapped?"
        )
    if accuracy > TOO_GOOD_ACCURACY and now.get("pairs", 0) >= 100:
        said.append(
            f"held-out reward accuracy is {accuracy:.2f}, too good for real preferences: does the "
            "held-out split overlap with training, or one flaw mark all rejected answers?"
        )
    if share_done >= 0.5 and abs(now["rewards/margins"]) < 1e-3:
        said.append(
            f"the reward margin is still {now['rewards/margins']:.4f}: the policy hardly moves; "
            "adapters need about ten times the learning rate of full fine-tuning"
        )
    before, after = start["logps/chosen"], now["logps/chosen"]
    if after < DISPLACEMENT * before:
        said.append(
            f"chosen answers became much less likely (log-prob {before:.0f} → {after:.0f}): "
            "read the samples; a lower learning rate or a larger beta drifts less"
        )
    return said


def samples(
    rows: Sequence[Mapping[str, object]], before: Sequence[Mapping[str, object]]
) -> list[str]:
    """Notices on answers to the same prompts now and at the start: has the model collapsed?"""
    texts = [str(row["completion"]).strip() for row in rows]
    if not texts:
        return []
    said: list[str] = []
    empty = sum(not text for text in texts)
    if empty > len(texts) / 2:
        said.append(f"{empty} of {len(texts)} sample answers are empty")
    if len(texts) >= 3 and len(set(texts)) == 1 and texts[0]:
        said.append(f"all {len(texts)} sample answers are the same text")
    looping = sum(_repeats(text) for text in texts)
    looping_before = sum(_repeats(str(row["completion"])) for row in before)
    if before and looping > len(texts) / 2 and looping > looping_before:
        said.append(f"{looping} of {len(texts)} sample answers repeat themselves")
    stopped = sum(bool(row["stopped"]) for row in rows)
    stopped_before = sum(bool(row["stopped"]) for row in before)
    if before and stopped < stopped_before / 2:
        said.append(
            f"only {stopped} of {len(texts)} sample answers end by themselves, "
            f"{stopped_before} did at the start"
        )
    return said


def _repeats(text: str) -> bool:
    """Whether most runs of four words were seen before in the same text."""
    words = text.split()
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(runs) >= 8 and len(set(runs)) < len(runs) / 2
