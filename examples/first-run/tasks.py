"""Build one question with its right answer, a wrong one and the checks that tell them apart."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from phrasings import EXPLANATIONS, PHRASINGS, REPLIES, SENTENCES
from words import Pool

Check = dict[str, object]


@dataclass(frozen=True)
class Task:
    """A question of one family; `checks` are those of zephyrctl's benchmark `rules`."""

    family: str
    prompt: str
    answer: str
    wrong: str
    explanation: str
    checks: tuple[Check, ...]
    entities: tuple[str, ...]
    """Every word that fills a slot."""


@dataclass(frozen=True)
class Slots:
    """What a builder hands on: fillers by slot name, and what follows from them."""

    fill: dict[str, object]
    answer: str
    wrong: str
    checks: tuple[Check, ...]
    words: tuple[str, ...]


COMMON: tuple[Check, ...] = ({"name": "stopped"}, {"name": "no_refusal"})
SENTENCE: tuple[Check, ...] = ({"name": "max_sentences", "value": 1}, {"name": "capitalised"})


def _exactly(value: str, *, ignore_case: bool) -> tuple[Check, ...]:
    return ({"name": "equals", "value": value, "ignore_case": ignore_case},)


def _place(rng: random.Random, pool: Pool, index: int) -> Slots:
    x, y = rng.sample(pool.things, 2)
    p, q = rng.sample(pool.places, 2)
    a, b = rng.sample(pool.names, 2)
    fill = {"x": x, "y": y, "p": p, "q": q, "a": a, "b": b}
    right = _exactly(p, ignore_case=True)
    return Slots(fill, f"{p.capitalize()}.", f"{q.capitalize()}.", right, (x, y, p, q, a, b))


def _who(rng: random.Random, pool: Pool, index: int) -> Slots:
    x, y = rng.sample(pool.things, 2)
    a, b = rng.sample(pool.names, 2)
    fill = {"x": x, "y": y, "a": a, "b": b}
    return Slots(fill, f"{a}.", f"{b}.", _exactly(a, ignore_case=False), (x, y, a, b))


def _price(rng: random.Random, pool: Pool, index: int) -> Slots:
    x, y, z = rng.sample(pool.things, 3)
    n, m, k = rng.sample(sorted(pool.numbers), 3)
    a = rng.choice(pool.names)
    fill = {"x": x, "y": y, "z": z, "n": n, "m": m, "k": k, "a": a}
    right: tuple[Check, ...] = ({"name": "number", "value": n}, {"name": "max_words", "value": 1})
    return Slots(fill, str(n), str(m), right, (x, y, z, a))


def _sum(rng: random.Random, pool: Pool, index: int) -> Slots:
    small = sorted(n for n in pool.numbers if n <= 90)
    total = -1
    n = m = 0
    while total not in pool.numbers:
        n, m = rng.sample(small, 2)
        total = n + m
    a = rng.choice(pool.names)
    right: tuple[Check, ...] = (
        {"name": "number", "value": total},
        {"name": "max_words", "value": 1},
    )
    return Slots({"n": n, "m": m, "a": a}, str(total), str(n), right, (a,))


def _larger(rng: random.Random, pool: Pool, index: int) -> Slots:
    n, m = rng.sample(sorted(pool.numbers), 2)
    a, b = rng.sample(pool.names, 2)
    right: tuple[Check, ...] = (
        {"name": "number", "value": max(n, m)},
        {"name": "max_words", "value": 1},
    )
    fill = {"n": n, "m": m, "a": a, "b": b}
    return Slots(fill, str(max(n, m)), str(min(n, m)), right, (a, b))


def _last(rng: random.Random, pool: Pool, index: int) -> Slots:
    x, y, z = rng.sample(pool.things, 3)
    right = _exactly(z, ignore_case=True)
    fill = {"x": x, "y": y, "z": z}
    return Slots(fill, f"{z.capitalize()}.", f"{x.capitalize()}.", right, (x, y, z))


def _sort(rng: random.Random, pool: Pool, index: int) -> Slots:
    chosen = rng.sample(pool.things, 3)
    while chosen == sorted(chosen) or len({word[0] for word in chosen}) < 3:
        chosen = rng.sample(pool.things, 3)
    x, y, z = chosen
    ordered = sorted(chosen)
    return Slots(
        {"x": x, "y": y, "z": z},
        ", ".join(ordered).capitalize() + ".",
        ", ".join(chosen).capitalize() + ".",
        ({"name": "list_items", "value": ordered},),
        (x, y, z),
    )


def _list(rng: random.Random, pool: Pool, index: int) -> Slots:
    things = rng.sample(pool.things, pool.listed)
    a = rng.choice(pool.names)
    said = ", ".join(things[:-1]) + " and " + things[-1]
    return Slots(
        {"w": said, "a": a},
        ", ".join(things).capitalize() + ".",
        ", ".join([*things[:-1], a]).capitalize() + ".",
        ({"name": "list_items", "value": things},),
        (*things, a),
    )


def _capitals(rng: random.Random, pool: Pool, index: int) -> Slots:
    c, x = rng.choice(pool.colours), rng.choice(pool.things)
    text = f"{c} {x}"
    right = _exactly(text.upper(), ignore_case=False)
    return Slots({"c": c, "x": x}, text.upper(), text.capitalize(), right, (c, x))


def _case(rng: random.Random, pool: Pool, index: int) -> Slots:
    a, b = rng.sample(pool.names, 2)
    t, u = rng.sample(pool.towns, 2)
    sentence = rng.choice(SENTENCES[pool.split]).format(a=a, b=b, t=t, u=u)
    right = _exactly(sentence, ignore_case=False)
    return Slots({"s": sentence.lower()}, sentence, sentence.lower(), right, (a, b, t, u))


def _note(rng: random.Random, pool: Pool, index: int) -> Slots:
    a, x = rng.choice(pool.names), rng.choice(pool.things)
    limit = rng.choice(pool.limits)
    reply = rng.choice(REPLIES["note"][pool.split][index])
    right: tuple[Check, ...] = (
        {"name": "contains", "value": a},
        {"name": "contains", "value": x, "ignore_case": True},
        {"name": "max_words", "value": limit},
        *SENTENCE,
    )
    wrong = f"Dear friend, this is about the {x}. It is here. Come and see it when you can."
    return Slots({"a": a, "x": x, "l": limit}, reply.format(a=a, x=x), wrong, right, (a, x))


def _opinion(rng: random.Random, pool: Pool, index: int) -> Slots:
    c, x, t = rng.choice(pool.colours), rng.choice(pool.things), rng.choice(pool.towns)
    limit = rng.choice(pool.limits)
    reply = rng.choice(REPLIES["opinion"][pool.split][index])
    about = t if "{t}" in PHRASINGS["opinion"][pool.split][index] else x
    right: tuple[Check, ...] = (
        {"name": "contains", "value": about, "ignore_case": True},
        {"name": "max_words", "value": limit},
        *SENTENCE,
    )
    fill = {"c": c, "x": x, "t": t, "l": limit}
    wrong = "It is what it is. There is not much to say. Some like it and some do not."
    words = (t,) if about == t else (c, x)
    return Slots(fill, reply.format(c=c, x=x, t=t), wrong, right, words)


BUILDERS: dict[str, Callable[[random.Random, Pool, int], Slots]] = {
    "place": _place,
    "who": _who,
    "price": _price,
    "sum": _sum,
    "larger": _larger,
    "last": _last,
    "sort": _sort,
    "list": _list,
    "capitals": _capitals,
    "case": _case,
    "note": _note,
    "opinion": _opinion,
}
FAMILIES = tuple(BUILDERS)


def build(family: str, *, rng: random.Random, pool: Pool) -> Task:
    """One task of `family`, filled from `pool`."""
    index = rng.randrange(len(PHRASINGS[family][pool.split]))
    slots = BUILDERS[family](rng, pool, index)
    return Task(
        family=family,
        prompt=PHRASINGS[family][pool.split][index].format(**slots.fill),
        answer=slots.answer,
        wrong=slots.wrong,
        explanation=EXPLANATIONS[family].format(**slots.fill),
        checks=(*slots.checks, *COMMON),
        entities=slots.words,
    )
