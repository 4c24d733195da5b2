"""A benchmark of one's own: questions in MT-Bench's format, rated by a rubric."""
