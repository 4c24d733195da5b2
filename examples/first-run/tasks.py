"""Build one question with its right answer, a wrong one and the checks that tell them apart."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from phrasings import EXPLANATIONS, PHRASINGS, REPLIES, SENTENCES
from words import Pool

Check = dict[str, object]
Fill = dict[str, str]


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
class Verdict:
    """The right answer, a wrong one, and what tells them apart."""

    answer: str
    wrong: str
    checks: tuple[Check, ...]


COMMON: tuple[Check, ...] = ({"name": "stopped"}, {"name": "no_refusal"})
SENTENCE: tuple[Check, ...] = ({"name": "max_sentences", "value": 1}, {"name": "capitalised"})


def fillers(rng: random.Random, pool: Pool) -> Fill:
    """A filler for every slot; a phrasing takes those that it names."""
    a, b = rng.sample(pool.names, 2)
    x, y, z = rng.sample(pool.things, 3)
    p, q = rng.sample(pool.places, 2)
    t, u = rng.sample(pool.towns, 2)
    n, m, k = (str(number) for number in rng.sample(sorted(pool.numbers), 3))
    things = rng.sample(pool.things, pool.listed)
    fill = {"a": a, "b": b, "x": x, "y": y, "z": z, "p": p, "q": q, "t": t, "u": u}
    fill |= {"n": n, "m": m, "k": k, "c": rng.choice(pool.colours)}
    fill |= {"l": str(rng.choice(pool.limits)), "w": f"{', '.join(things[:-1])} and {things[-1]}"}
    return fill


def _equals(value: str, *, ignore_case: bool = False) -> tuple[Check, ...]:
    return ({"name": "equals", "value": value, "ignore_case": ignore_case},)


def _contains(value: str) -> Check:
    return {"name": "contains", "value": value, "ignore_case": True}


def _number(value: str) -> tuple[Check, ...]:
    return ({"name": "number", "value": int(value)}, {"name": "max_words", "value": 1})


def _place(fill: Fill) -> Verdict:
    checks = (_contains(fill["p"]), {"name": "max_words", "value": 4})
    return Verdict(f"In the {fill['p']}.", f"In the {fill['q']}.", checks)


def _who(fill: Fill) -> Verdict:
    return Verdict(f"{fill['a']}.", f"{fill['b']}.", _equals(fill["a"]))


def _price(fill: Fill) -> Verdict:
    return Verdict(fill["n"], fill["m"], _number(fill["n"]))


def _sum(fill: Fill) -> Verdict:
    total = str(int(fill["n"]) + int(fill["m"]))
    return Verdict(total, fill["m"], _number(total))


def _last(fill: Fill) -> Verdict:
    checks = _equals(fill["z"], ignore_case=True)
    return Verdict(f"{fill['z'].capitalize()}.", f"{fill['x'].capitalize()}.", checks)


def _list(fill: Fill) -> Verdict:
    things = fill["w"].replace(" and ", ", ").split(", ")
    wrong = f"{fill['y'].capitalize()} and {things[0]}."
    checks: tuple[Check, ...] = ({"name": "list_items", "value": things},)
    return Verdict(f"{fill['w'].capitalize()}.", wrong, checks)


def _title(fill: Fill) -> Verdict:
    words = f"{fill['c']} {fill['x']}"
    return Verdict(words.title(), words.capitalize(), _equals(words.title()))


def _case(fill: Fill) -> Verdict:
    return Verdict(fill["S"], fill["s"], _equals(fill["S"]))


def _free(fill: Fill, *, wrong: str, named: str, more: tuple[Check, ...]) -> Verdict:
    """A free sentence: it names what it is about, is one sentence, and repeats no instruction."""
    echo: Check = {"name": "not_contains", "value": fill["echo"], "ignore_case": True}
    about = tuple(_contains(fill[slot]) for slot in named if f"{{{slot}}}" in fill["asked"])
    return Verdict(fill["reply"], wrong, (*about, *more, echo, *SENTENCE))


def _limit(fill: Fill) -> tuple[Check, ...]:
    return ({"name": "max_words", "value": int(fill["l"])},) if "{l}" in fill["asked"] else ()


def _note(fill: Fill) -> Verdict:
    wrong = "Dear friend, there is some news. It is here. Come and see it when you can."
    return _free(fill, wrong=wrong, named="ax", more=_limit(fill))


def _opinion(fill: Fill) -> Verdict:
    wrong = "It is what it is. There is not much to say. Some like it and some do not."
    return _free(fill, wrong=wrong, named="xt", more=_limit(fill))


def _question(fill: Fill) -> Verdict:
    more: tuple[Check, ...] = ({"name": "ends_with", "value": "?"},)
    return _free(fill, wrong=f"I want to ask {fill['b']}.", named="xt", more=more)


def _reason(fill: Fill) -> Verdict:
    return _free(fill, wrong="Nobody knows why.", named="a", more=(_contains("because"),))


BUILDERS: dict[str, Callable[[Fill], Verdict]] = {
    "place": _place,
    "who": _who,
    "price": _price,
    "sum": _sum,
    "last": _last,
    "list": _list,
    "title": _title,
    "case": _case,
    "note": _note,
    "opinion": _opinion,
    "question": _question,
    "reason": _reason,
}
FAMILIES = tuple(BUILDERS)


def build(family: str, *, rng: random.Random, pool: Pool) -> Task:
    """One task of `family`, filled from `pool`."""
    index = rng.randrange(len(PHRASINGS[family][pool.split]))
    asked = PHRASINGS[family][pool.split][index]
    fill = fillers(rng, pool)
    if family == "sum":
        fill |= _addends(rng, pool)
    sentence = rng.choice(SENTENCES[pool.split]) if family == "case" else ""
    fill |= {"S": sentence.format(**fill), "s": sentence.format(**fill).lower(), "asked": asked}
    prompt = asked.format(**fill)
    if family in REPLIES:
        reply = rng.choice(REPLIES[family][pool.split][index])
        fill |= {"reply": reply.format(**fill), "echo": " ".join(prompt.split()[:3])}
    verdict = BUILDERS[family](fill)
    shown = {name for _, name, _, _ in string.Formatter().parse(asked + sentence) if name}
    return Task(
        family=family,
        prompt=prompt,
        answer=verdict.answer,
        wrong=verdict.wrong,
        explanation=EXPLANATIONS[family].format(**fill),
        checks=(*verdict.checks, *COMMON),
        entities=tuple(
            word
            for slot in sorted(shown & set("abxyzpqtucw"))
            for word in fill[slot].replace(",", "").replace(" and ", " ").split()
        ),
    )


def _addends(rng: random.Random, pool: Pool) -> Fill:
    """Two numbers of the pool, neither above 90, whose sum is in the pool too."""
    small = sorted(number for number in pool.numbers if number <= 90)
    while True:
        n, m = rng.sample(small, 2)
        if n + m in pool.numbers:
            return {"n": str(n), "m": str(m)}
