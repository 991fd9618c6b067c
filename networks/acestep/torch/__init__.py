"""ACE-Step's networks in PyTorch."""
