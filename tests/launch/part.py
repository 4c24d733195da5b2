"""`python -m zephyrctl.launch.node` whose worker is the script of these tests."""

from tests.launch.planned import SCRIPT

from zephyrctl.launch import node

if __name__ == "__main__":
    node.WORKER = (str(SCRIPT),)
    raise SystemExit(node.main())
