"""The stages: each a function of (recipe, run) that writes artifacts, and the order they go in."""
