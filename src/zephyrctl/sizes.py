"""How is a number of bytes told to people?

In powers of two, as operating systems and GPU makers count memory. Downloads are told as the
package index and the Hub tell them, in decimal MB and GB.
"""

from __future__ import annotations

KIB = 2**10
MIB = 2**20
GIB = 2**30


def size_words(size: float) -> str:
    """`14.5 GiB`, `355 MiB`, `3.1 MiB`: a tenth where it tells something, none in a round size."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            is_whole = size % unit == 0 or (unit < GIB and size >= 10 * unit)
            return f"{size / unit:.{0 if is_whole else 1}f} {name}"
    return f"{size:.0f} bytes"
