"""A model behind an OpenAI-compatible service on this machine."""
