"""ACE-Step's networks in MLX."""
