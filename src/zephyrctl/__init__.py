"""zephyrctl: from a base language model to an aligned, measured chat model."""

# A literal: importlib.metadata costs 45 ms at every start.
__version__ = "0.1.0"
