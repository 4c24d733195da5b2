"""Where are the packaged chat templates?"""

from importlib.resources import files


def names() -> list[str]:
    """The packaged templates, sorted."""
    return sorted(
        item.name.removesuffix(".jinja")
        for item in files(__name__).iterdir()
        if item.name.endswith(".jinja")
    )


def read(name: str) -> str:
    """The text of a packaged template; `name` is one of `names()`."""
    return files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")
