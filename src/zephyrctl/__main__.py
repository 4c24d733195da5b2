"""Lets `python -m zephyrctl` be the same command as `zephyrctl`."""

from zephyrctl.cli.app import main

if __name__ == "__main__":
    main()
