"""How does a process that only reads text do without torch?"""

from __future__ import annotations

import os
import sys


def do_without_torch() -> None:
    """Keep transformers from importing torch in this process, where neither is imported yet.

    It does so for a tokenizer too, which costs two seconds and 180 MB. To be called by a process
    that only reads text: afterwards no model can be loaded in it.
    """
    if "torch" in sys.modules or "transformers" in sys.modules:
        return
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    # What `import` and `find_spec` read as "there is no such module". transformers remembers what
    # it found; others, such as datasets, must not meet the None.
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        from transformers.utils.import_utils import is_torch_available

        is_torch_available()
    finally:
        del sys.modules["torch"]
