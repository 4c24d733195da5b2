"""Which recipes come with the package, and where is the file of one."""

from dataclasses import dataclass
from pathlib import Path

from zephyrctl.errors import UsageError
from zephyrctl.registry import did_you_mean

FOLDER = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class PackagedRecipe:
    """A recipe in the wheel; `summary` is the first comment line of its file."""

    name: str
    summary: str
    path: Path


def packaged() -> list[PackagedRecipe]:
    """Every packaged recipe, by name."""
    return [PackagedRecipe(name, _summary(path), path) for name, path in _files().items()]


def find(name: str) -> Path:
    """The file of a packaged recipe; UsageError with the nearest name otherwise."""
    files = _files()
    if name not in files:
        raise UsageError(
            f"unknown recipe '{name}'{did_you_mean(name, files)}", hint="zephyrctl recipes list"
        )
    return files[name]


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)}


def _summary(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#") and text and not text.startswith("yaml-language-server"):
            return text
    return ""
