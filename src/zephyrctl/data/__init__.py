"""Messages, sources, converters, filters, pairs, splits and token ids."""
