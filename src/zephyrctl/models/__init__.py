"""Base models that have a name: where they come from and how they reach the cache."""
