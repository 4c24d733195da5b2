"""The one configuration model, how its layers merge, and how it explains itself."""
