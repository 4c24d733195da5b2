"""A benchmark of one's own: questions in MT-Bench's format, graded by a rubric."""
