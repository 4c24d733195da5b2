"""Results in the formats of other tools: written for them, and read from them."""
