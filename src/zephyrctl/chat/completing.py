"""What can follow what has been typed at the prompt of a chat?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from zephyrctl import terminal
from zephyrctl.catalogue import CHAT_COMMANDS
from zephyrctl.chat.settings import SETTINGS
from zephyrctl.chat.votes import LETTERS, NONE, TIE

_PATHS = ("save", "load")
_REFERENCES = ("model", "compare")


class Commands(Completer):
    """The names of commands, and what each of them takes; nothing within a question.

    `references` lists models that can be named, asked anew at each completion.
    """

    def __init__(self, references: Callable[[], list[str]]) -> None:
        self._references = references
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """See prompt_toolkit's `Completer`."""
        text = document.text_before_cursor
        if not is_command(document.text):
            return
        name, blank, rest = text[1:].partition(" ")
        if not blank:
            yield from _named(name)
        elif name in _PATHS:
            yield from self._paths.get_completions(Document(rest), complete_event)
        else:
            last = rest.rpartition(" ")[2]
            for word in self._words(name, is_first=last == rest):
                if word.startswith(last):
                    yield Completion(word, start_position=-len(last), display=terminal.safe(word))

    def _words(self, name: str, *, is_first: bool) -> list[str]:
        """What `name` takes as the word that is being typed."""
        if name == "regen":
            return [f"{setting}=" for setting in SETTINGS]
        if name == "compare" or (name in _REFERENCES and is_first):
            words = ["blind", "open", "off"] if is_first and name == "compare" else []
            return words + self._references()
        if not is_first:
            return []
        return {
            "set": list(SETTINGS),
            "help": CHAT_COMMANDS.names(),
            "edit": ["new"],
            "prefer": [*LETTERS, TIE, NONE],
            "system": ["-"],
        }.get(name, [])


def is_command(text: str) -> bool:
    """Whether a text is a command rather than a question."""
    return text.startswith("/") and not text.startswith("//") and "\n" not in text


def _named(start: str) -> Iterator[Completion]:
    for entry in CHAT_COMMANDS.entries():
        if entry.name.startswith(start):
            yield Completion(entry.name, start_position=-len(start), display_meta=entry.summary)
