"""The benchmarks' public files: where they come from, and where they are kept."""
