"""How do rows come from a data set of the Hub, and what is said where they do not?"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.config.schema.data import Source
from zephyrctl.data.sources.tables import BATCH_ROWS
from zephyrctl.errors import (
    CredentialsError,
    DataError,
    DiskFull,
    NetworkError,
    UsageError,
    ZephyrctlError,
    quoted,
)
from zephyrctl.models import hub

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOGIN = "hf auth login"


def name(source: Source) -> str:
    """What the place of a row of a Hub data set starts with: `id/config:split`."""
    config = "" if source.config is None else f"/{source.config}"
    return f"{source.path}{config}:{source.split}"


def batches(source: Source) -> Iterator[Any]:
    """The record batches of one split of a Hub data set.

    From the library's cache where they are there; with `streaming` over the network as they are
    asked for, and never stored whole.
    """
    _refuse_strange_id(source)
    try:
        for table in _load(source).with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield from table.to_batches()
    except ZephyrctlError:
        raise
    except Exception as error:
        raise _explained(error, source) from error


def _refuse_strange_id(source: Source) -> None:
    """UsageError for what is no `owner/name`: the library would take it for a folder or a URL."""
    if _ID.fullmatch(source.path) and ".." not in source.path:
        return
    here = Path(source.path)
    raise UsageError(
        f"'{source.path}' is neither a file nor the id of a Hub data set",
        where=source.path,
        hint=f"a folder is written ./{here}"
        if "/" not in source.path and here.is_dir()
        else "an id is written owner/name; a file starts with ./ or ends with .jsonl",
    )


def _load(source: Source) -> Any:
    import datasets
    from datasets import config

    streaming = source.streaming and hub.answers()  # a cache needs no stream
    if not hub.answers():
        # The library would try for half a minute. It reads the variable once, at import; this is
        # the switch that it reads afterwards.
        config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    data: Any = datasets.load_dataset(
        f"hf://datasets/{source.path}",  # without the scheme a folder of this name would come first
        source.config,
        split=source.split,
        revision=source.revision,
        streaming=streaming,
    )
    if not streaming:
        _refuse_other_revision(data.cache_files, source)
    return data


def _refuse_other_revision(files: list[dict[str, str]], source: Source) -> None:
    """NetworkError where the library fell back to another commit that its cache holds."""
    commits = {Path(item["filename"]).parent.name for item in files}
    if source.revision is None or not _COMMIT.fullmatch(source.revision):
        return
    others = sorted(commit for commit in commits if commit != source.revision)
    if others:
        raise NetworkError(
            f"the Hub cannot be reached, and its cache holds another revision of {source.path}",
            where=_where(source),
            hint=f"repeat the command with the Hub in reach, or set `revision: {others[0]}`",
        )


def _where(source: Source) -> str:
    return source.path if source.revision is None else f"{source.path} at {source.revision}"


def _explained(error: Exception, source: Source) -> ZephyrctlError:
    """The error a user can act on, for what the library and the Hub client raise."""
    from huggingface_hub import errors

    chain = [*_chain(error), *_chain(_refusal(error, source))]
    where, path = _where(source), source.path
    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in chain}
    if any(isinstance(link, errors.GatedRepoError) for link in chain):
        return CredentialsError(
            f"{path} is gated: its terms have to be accepted with your account", where=where,
            hint=f"accept them on the page of {path}, then: {_LOGIN}",
        )  # fmt: skip
    if statuses & {401, 403}:
        return CredentialsError(
            f"the Hub does not show '{path}' without a token that may read it, or has no such "
            "data set", where=where, hint=f"check the spelling, then: {_LOGIN}",
        )  # fmt: skip
    if any(isinstance(link, OSError) and link.errno == errno.ENOSPC for link in chain):
        cache = environment.hub_cache()
        return DiskFull(f"no space left for {path}", where=str(cache),
                        hint=f"df -h {quoted(cache)}, or set `streaming: true`")  # fmt: skip
    return _absent(chain, source) or _unread(error, source)


def _refusal(error: Exception, source: Source) -> Exception | None:
    """Why the Hub does not give the data set; asked again, because the library forgets it."""
    import datasets.exceptions as de
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    if not isinstance(error, de.DatasetNotFoundError) or not hub.answers():
        return None
    url = hf_hub_url(source.path, "README.md", repo_type="dataset", revision=source.revision)
    try:
        get_hf_file_metadata(url)
    except (errors.HfHubHTTPError, OSError) as refusal:
        return refusal
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and all that led to it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _absent(chain: list[BaseException], source: Source) -> ZephyrctlError | None:
    """The error for a Hub out of reach, or one that has no such data set or revision."""
    from huggingface_hub import errors

    where, path = _where(source), source.path
    if not hub.answers() or any(
        isinstance(link, errors.OfflineModeIsEnabled | ConnectionError) for link in chain
    ):
        return NetworkError(
            f"the Hub cannot be reached and {path} is not in its cache", where=where,
            hint=f"on a connected machine: hf download --repo-type dataset {path}   "
            "or name a local file (./data.jsonl)",
        )  # fmt: skip
    if any(isinstance(link, errors.RevisionNotFoundError) for link in chain):
        return UsageError(f"{path} has no revision '{source.revision}'", where=where,
                          hint="set `revision` to a commit, tag or branch of it")  # fmt: skip
    if any(isinstance(link, errors.RepositoryNotFoundError) for link in chain):
        return UsageError(
            f"the Hub has no data set '{path}', or your token may not see it", where=where,
            hint=f"check the spelling, or: {_LOGIN}; a local file starts with ./",
        )  # fmt: skip
    return None


def _unread(error: Exception, source: Source) -> ZephyrctlError:
    """The error for a data set that is there: it cannot be read, or did not arrive."""
    import datasets.exceptions as de
    from datasets.data_files import EmptyDatasetError

    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    # The library names a folder of this machine first, where it never was told to look.
    said = said.rpartition(" either: ")[2]
    if "scripts are no longer supported" in said:
        script = said.rpartition(" ")[2]
        return DataError(
            f"{source.path} is read by a script of its own ({script}), which is never run",
            where=_where(source),
            hint="`revision: refs/convert/parquet` where its page offers that, or write the rows "
            "to a parquet or .jsonl file and name that as `path`",
        )
    if isinstance(error, ValueError | de.DatasetsError | EmptyDatasetError):
        return DataError(
            f"{source.path} cannot be read: {said}", where=_where(source),
            hint="set `config`, `split` or `revision` to what its page names",
        )  # fmt: skip
    return NetworkError(
        f"the Hub did not deliver {source.path}: {said}", where=_where(source),
        hint="repeat the command; finished files are kept",
    )  # fmt: skip
