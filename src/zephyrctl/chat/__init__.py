"""A conversation with a model, in the terminal or in one shot."""
