"""Does an answer refuse, disclaim that it is an AI, or hedge?

UltraChat's filter list was never published; this one is our own. Two kinds of phrase are told
apart by where they mean something:

- a disclaimer ("as an AI language model", "I don't have personal opinions") counts anywhere;
- a refusal ("I'm sorry, but I can't …", "I cannot assist with that") counts in the opening of an
  answer only, its first 240 characters, because further down it is mostly a story or a quotation.

Phrases match whole words, in any case, with straight or typographic apostrophes. Text in quotation
marks is not looked at: a letter or a dialogue may quote a refusal without being one.
"""

from __future__ import annotations

import re

from zephyrctl.data.text import straight_quotes, without_code

OPENING = 240

_NOT = r"(?:can't|cannot|can not|couldn't|could not|won't|will not)"
_UNABLE = r"(?:am|'m) (?:\w+ )?(?:unable|not able|not allowed|not permitted|not programmed) to"
_HELP = (
    r"(?:assist|help (?:you|with)|fulfill?|comply|provide|answer (?:that|this|your)|access|browse|"
    r"generate|create|write|offer|give|engage in|support|discuss|do that|share|perform|complete|"
    r"participate|recommend|condone|predict|verify|express|process)"
)
_MIND = (
    r"(?:personal|real|human|actual|subjective|physical|own)?,? ?(?:personal )?"
    r"(?:experiences?|opinions?|feelings?|emotions?|beliefs?|preferences?|thoughts|memories|"
    r"consciousness|desires|body|senses|needs|biases)"
)

DISCLAIMERS = (
    r"(?:as|being) an? (?:large |helpful |virtual )?(?:ai(?: (?:language )?model| assistant)?|"
    r"artificial intelligence|language model|llm|chatbot|digital assistant)\b"
    r"(?! (?:engineer|researcher|company|expert|developer|scientist|student|startup|"
    r"consultant|architect|lab|ethicist|team))",
    r"i(?: am|'m) (?:just |only |merely |simply )?(?:an? )(?:large |text-based )?"
    r"(?:ai|artificial intelligence|language model|llm|chatbot|computer program|machine learning "
    r"model)\b(?! (?:engineer|researcher|company|expert|developer|scientist|student))",
    rf"i (?:don't|do not|can't|cannot|am not able to|'m not able to) (?:actually |really )?"
    rf"(?:have|possess|hold|experience|feel|form)(?: any)? {_MIND}\b",
    r"i(?: am|'m) not (?:capable of|able to) (?:having|feeling|experiencing|feel|experience|"
    r"forming)",
    r"i (?:do not|don't) have (?:the (?:ability|capability|capacity) to|access to (?:real-time|"
    r"current|the internet|live|external|your))",
    r"my (?:knowledge cutoff|training data (?:only|ends|goes|is limited)|programming (?:does not|"
    r"doesn't|prohibits))",
    r"i was (?:not )?(?:programmed|trained|designed) (?:by|to (?:provide|assist|help|avoid))",
    r"(?:openai|anthropic)(?:'s)? (?:content|usage|use-case|use case) polic(?:y|ies)",
)

REFUSALS = (
    rf"i(?:'m| am) (?:so |very |truly |really )?sorry,?(?: but)? (?:i|as an|that i|this|there is)"
    rf"(?: {_NOT}|'m (?:not|unable)| am (?:not|unable)| do(?:n't| not)| must)",
    rf"(?:i )?(?:sincerely )?apologi[sz]e,?(?: but)?(?: for [\w ,]{{0,40}})? i {_NOT}",
    rf"(?:i )?apologi[sz]e,?(?: but)?(?: for [\w ,]{{0,40}})? i {_UNABLE}",
    rf"sorry,?(?: but)? i (?:{_NOT}|{_UNABLE})",
    rf"(?:unfortunately|regrettably|however),? i (?:{_NOT}|{_UNABLE})",
    rf"i {_NOT} (?:be able to )?{_HELP}",
    rf"i{_UNABLE.replace('(?:am', '(?: am')} {_HELP}",
    r"i (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)",
    r"i(?:'d| would) (?:rather|prefer) not(?: to)?",
    r"it (?:is|would be) (?:not appropriate|inappropriate|unethical) for me to",
    r"(?:this|that|your) request (?:goes against|violates|is (?:not something|inappropriate))",
    r"i(?: am|'m) not (?:comfortable|going to|in a position)",
)

HEDGES = (
    r"it(?: is|'s) (?:always )?(?:important|worth|crucial|essential) (?:to )?(?:note|noting|"
    r"remember|mention(?:ing)?|understand|consult|keep in mind)",
    r"(?:please )?(?:note|be aware|keep in mind|bear in mind) that",
    r"(?:consult|speak|talk)(?:ing)?(?: to| with)? (?:a |an |your )?(?:qualified |licensed |"
    r"medical |legal |financial |healthcare )*(?:professional|expert|doctor|lawyer|attorney|"
    r"physician|advis[oe]r|specialist)",
    r"seek (?:professional|medical|legal|expert)",
    r"i(?: am|'m) not (?:entirely |completely |totally |quite )?(?:sure|certain)",
    r"i (?:may|might|could) be (?:wrong|mistaken)",
    r"i (?:can't|cannot) (?:guarantee|be (?:sure|certain)|confirm|say for (?:sure|certain))",
    r"i(?: am|'m) (?:not a|no) (?:doctor|lawyer|expert|professional|financial)",
    r"(?:results|experiences|mileage|this|it) (?:may|can|might) vary",
    r"(?:there is|there's) no (?:one-size-fits-all|single|simple|definitive|right or wrong) "
    r"(?:answer|solution|approach)?",
    r"(?:it|that|the answer) (?:really )?depends on",
    r"(?:for|as) (?:general )?informational purposes",
    r"i (?:would|'d) (?:recommend|suggest|advise) (?:consulting|checking|verifying)",
)


def _union(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


_DISCLAIMER = _union(DISCLAIMERS)
_REFUSAL = _union(REFUSALS)
_HEDGE = _union(HEDGES)
_QUOTED = re.compile(r'"[^"\n]{1,400}"|\u201c[^\u201d\n]{1,400}\u201d')
# "I can't help but smile", "I'm sorry I can't come" and the like stand in letters and stories.
_IDIOM = re.compile(r"can(?:'t|not) help (?:but|feeling|thinking|wondering|noticing|it)\b", re.I)


def find_refusal(text: str) -> str | None:
    """The phrase by which an answer refuses or disclaims being an AI, as written; None if none."""
    prose = _prose(text)
    found = _DISCLAIMER.search(prose) or _REFUSAL.search(prose[:OPENING])
    return found.group(0) if found else None


def find_hedge(text: str) -> str | None:
    """The first hedging phrase of an answer, as written; None if there is none."""
    found = _HEDGE.search(_prose(text))
    return found.group(0) if found else None


def _prose(text: str) -> str:
    plain = re.sub(r"\s+", " ", straight_quotes(without_code(text))).strip()
    return _IDIOM.sub("", _QUOTED.sub('""', plain))
