"""What is said of words after a command that takes none?"""

from zephyrctl.errors import UsageError


def refuse_words(name: str, rest: str) -> None:
    """UsageError where anything follows the command, rather than act as if it were not there."""
    if rest:
        raise UsageError(f"/{name} takes nothing after it, not '{rest}'", hint=f"/{name}")
