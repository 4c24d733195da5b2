"""Judges: models at a service, models in this process, and recorded judgments."""
