"""Which service does a spec name, and which key may it see?

A key comes from a key file, the environment or the working directory's `.env`. It is never logged,
and never sent over plain HTTP to another machine unless a key file says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from zephyrctl.errors import CredentialsError, NetworkError, UsageError, quoted

OPENAI_URL = "https://api.openai.com/v1"
_HOST = r"https?://(?:\[[0-9a-fA-F:]+\]|[^:/\s]+)(?::\d+)?"
_SPEC = re.compile(rf"openai(?:\+(?P<url>{_HOST}(?:/[^:\s]*)?))?:(?P<model>[^\s]+)")
_USER = re.compile(r"//[^/\s]*@")
_LOOPBACK = re.compile(r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")


def parse_spec(spec: str, env: Mapping[str, str]) -> tuple[str, str]:
    """The base URL and the model of `openai:MODEL` or `openai+http(s)://host/v1:MODEL`."""
    _refuse_password(spec)  # which the pattern would take for a host and a model's name
    match = _SPEC.fullmatch(spec)
    if match is None or not _is_address(match["url"]):
        raise UsageError(
            f"'{spec}' is no endpoint",
            hint="openai:MODEL, or openai+http://localhost:8000/v1:MODEL",
        )
    named = match["url"] or env.get("OPENAI_BASE_URL") or env.get("OPENAI_API_BASE") or OPENAI_URL
    _refuse_password(named)
    return named.rstrip("/"), match["model"]


def _refuse_password(address: str) -> None:
    """UsageError for an address with a user or a password, which would stand with every score."""
    if without_password(address) != address:
        raise UsageError(
            "the address of the endpoint holds a user or a password",
            where=without_password(address),
            hint="leave it out there; a key stands in OPENAI_API_KEY or in a key file",
        )


def without_password(text: str) -> str:
    """`text` with stars for what stands before the host of an address."""
    return _USER.sub("//***@", text)


def _is_address(url: str | None) -> bool:
    """Whether host and port can be; the pattern lets any number of digits through."""
    try:
        return url is None or urlsplit(url).port != 0
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own."""
    return _LOOPBACK.match(url) is not None


def refuse_offline(url: str, env: Mapping[str, str]) -> None:
    """NetworkError where ZEPHYRCTL_OFFLINE forbids the address."""
    if env.get("ZEPHYRCTL_OFFLINE", "") not in ("", "0") and not is_loopback(url):
        raise NetworkError(
            "ZEPHYRCTL_OFFLINE=1 forbids the network", where=url, hint="unset ZEPHYRCTL_OFFLINE"
        )


def key_hint(option: str | None) -> str:
    """How a key is given; `option` is what names a key file to the command at hand, if anything."""
    return "export OPENAI_API_KEY=…" + (f", or name a key file: {option}" if option else "")


def find_key(
    url: str, api_key_file: str | None, env: Mapping[str, str], *, key_option: str | None = None
) -> str | None:
    """The key for `url`, None where it needs or may see none; CredentialsError where OpenAI's own
    service has none. `key_option` is as in `key_hint`."""
    if api_key_file is not None:
        return key_of_file(Path(api_key_file).expanduser())
    if url.startswith("http://") and not is_loopback(url):
        return None
    key = (env.get("OPENAI_API_KEY") or "").strip() or _key_of_dotenv(Path(".env"))
    if key is not None and not (key.isascii() and key.isprintable()):
        raise CredentialsError(
            "OPENAI_API_KEY holds characters that no key has",
            where=url,
            hint="it may have been copied with an ellipsis or a line break",
        )
    if key is None and url == OPENAI_URL:
        raise CredentialsError(
            "no key for the endpoint",
            where=url,
            hint=key_hint(key_option),
        )
    return key


def key_of_file(path: Path) -> str:
    """The key that a file holds on its only line; CredentialsError where it holds none."""
    # The shell reads the key itself: it is on no command line, nor in the shell's history.
    hint = f"type it in: (umask 077; head -n 1 > {quoted(path)})"
    try:
        key = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise CredentialsError("there is no such key file", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise CredentialsError("the key file is no text", where=str(path), hint=hint) from None
    except OSError as error:
        raise CredentialsError(
            f"the key file cannot be read: {(error.strerror or str(error)).lower()}",
            where=str(path),
            hint=f"ls -ld {quoted(path)}",
        ) from None
    if not key:
        raise CredentialsError("the key file is empty", where=str(path), hint=hint)
    if len(key.split()) != 1 or not key.isascii() or not key.isprintable():
        raise CredentialsError("the key file holds no key on one line", where=str(path), hint=hint)
    return key


def _key_of_dotenv(path: Path) -> str | None:
    """OPENAI_API_KEY from a `.env` file; the file is read, never written nor put into the
    environment of child processes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, separator, value = line.removeprefix("export ").partition("=")
        if separator and name.strip() == "OPENAI_API_KEY":
            return value.strip().strip("'\"") or None
    return None
