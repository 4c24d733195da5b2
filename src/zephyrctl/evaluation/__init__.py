"""Benchmarks, verdicts and the uncertainty of what they say."""
