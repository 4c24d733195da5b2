"""Memory, time, money and disk of a recipe, before any of it is spent. Pure arithmetic."""
