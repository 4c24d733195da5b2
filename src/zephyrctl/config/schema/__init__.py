"""The one configuration model: `Recipe` and its sections.

An attribute's docstring is its only description; `--help`, `config explain`, the JSON Schema and
the generated reference are all drawn from it.
"""

from zephyrctl.config.schema.recipe import Recipe

__all__ = ["Recipe"]
