"""Answers of models, decoded here or asked for at an endpoint."""
