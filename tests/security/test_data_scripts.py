"""A data set of the Hub that brings a loading script is refused, and the script never runs."""

from pathlib import Path

from tests.data.hub_server import serving
from tests.data.test_hub_sources import child


def test_a_loading_script_is_refused_with_a_way_out_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "CODE-RAN"
    script = f"open({str(mark)!r}, 'w').write('ran')\nimport datasets\n"
    files = {"chats.py": script.encode(), "README.md": b"# chats\n"}
    with serving(files) as (address, _):
        found = child(address, tmp_path / "home", {"path": "owner/chats"}, HF_DATASETS_OFFLINE="0")
    assert found[0]["code"] == 2
    assert "script" in found[0]["message"]
    assert "parquet" in found[0]["hint"]
    assert not mark.exists()
