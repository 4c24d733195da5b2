"""AlpacaEval's files, and what may stand in them."""

import json
from pathlib import Path

from zephyrctl.evaluation.alpaca_eval.formats import read_rows


def test_a_text_may_hold_what_python_calls_the_end_of_a_line(tmp_path: Path):
    rows = [{"output_1": "a\u2028b", "n": 1}, {"output_1": "a\x85b\u2029", "n": 2}]
    path = tmp_path / "judgments.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read_rows(path) == rows
