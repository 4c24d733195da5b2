"""Where are the weights of this base model?"""

from __future__ import annotations

from pathlib import Path

from zephyrctl import environment, terminal
from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.config.paths import is_local
from zephyrctl.errors import NetworkError, UsageError
from zephyrctl.models import cache, hub, named
from zephyrctl.models.cache import Say
from zephyrctl.models.located import Located
from zephyrctl.registry import did_you_mean, nearest
from zephyrctl.runs.references import no_model

__all__ = ["Located", "locate", "on_disk"]


def locate(base: str, *, revision: str | None = None, say: Say = terminal.say) -> Located:
    """The folder that holds `base`, fetched, converted or built first where it has to be.

    `base` is a name of `zephyrctl models list`, a local folder, or a Hub id. Nothing heavy is
    imported. UsageError for what does not exist, NetworkError for what cannot be reached.
    """
    if base in BASE_MODELS:
        _refuse_revision(base, revision, kind="named base model")
        return BASE_MODELS.load(base)(say=say)
    if is_local(base, suffixes=()):
        _refuse_revision(base, revision, kind="folder")
        return _folder(base)
    return _hub_model(base, revision=revision, say=say)


def on_disk(base: str, *, revision: str | None = None) -> Path | None:
    """The folder of `base` where its weights are here already; nothing is fetched or built."""
    if base in BASE_MODELS:
        return named.on_disk(base)
    if is_local(base, suffixes=()):
        path = Path(base).expanduser().absolute()
        return path if hub.is_complete(path) else None
    snapshot = hub.cached(base, revision=revision) if hub.HUB_ID.fullmatch(base) else None
    return snapshot.path if snapshot else None


def _refuse_revision(base: str, revision: str | None, *, kind: str) -> None:
    if revision is not None:
        raise UsageError(
            f"'{base}' is a {kind}; a revision belongs to a Hub id",
            where=f"model.revision: {revision}",
            hint="remove model.revision",
        )


def _folder(base: str) -> Located:
    path = Path(base).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(
            f"there is no folder {path}",
            where=f"model.base: {base}",
            hint="zephyrctl models list   shows the named base models",
        )
    if not hub.is_complete(path):
        raise no_model(path)
    digest = cache.folder_digest(path)
    return Located(base, path, None, "folder", digest, f"{path} ({digest[:12]})")


def _hub_model(base: str, *, revision: str | None, say: Say) -> Located:
    if not hub.HUB_ID.fullmatch(base):
        raise UsageError(
            f"'{base}' is no Hub id, no folder and no named base model",
            hint="a folder starts with ./ or /; zephyrctl models list   shows the names",
        )
    snapshot = hub.cached(base, revision=revision)
    if snapshot is not None:
        return Located.of_snapshot(base, base, snapshot, source="hub-cache")
    if "/" not in base and nearest(base, BASE_MODELS.names()) is not None:
        raise UsageError(
            f"unknown base model '{base}'{did_you_mean(base, BASE_MODELS.names())}",
            hint="zephyrctl models list",
        )
    if hub.answers():
        found = hub.download(base, revision=revision, say=say)
        return Located.of_snapshot(base, base, found, source="hub")
    raise NetworkError(
        f"{_why_not()} and {base} is not in its cache",
        where=f"looked in {environment.hub_cache()}",
        hint=f"on a connected machine: hf download {base}{_revision_flag(revision)}   "
        "or name a folder or one of `zephyrctl models list`",
    )


def _why_not() -> str:
    if not environment.network_allowed():
        return "ZEPHYRCTL_OFFLINE=1 forbids the Hub"
    if not environment.hub_allowed():
        return "HF_HUB_OFFLINE=1 forbids the Hub"
    return f"the Hub does not answer (tried once, {hub.PROBE_S:.0f} s)"


def _revision_flag(revision: str | None) -> str:
    return f" --revision {revision}" if revision else ""
