"""MT-Bench: 80 two-turn questions rated or compared by a judge, and questions in its format."""
