"""Models behind OpenAI-compatible services, spoken to over HTTP."""

from zephyrctl.generation.endpoint.address import key_of_file
from zephyrctl.generation.endpoint.client import Endpoint
from zephyrctl.generation.endpoint.listing import models_at
from zephyrctl.generation.endpoint.tries import Patience
from zephyrctl.generation.endpoint.wire import Asked, Reply, Streamed

__all__ = ["Asked", "Endpoint", "Patience", "Reply", "Streamed", "key_of_file", "models_at"]
