"""MT-Bench: 80 two-turn questions graded or compared by a judge, and questions in its format."""
