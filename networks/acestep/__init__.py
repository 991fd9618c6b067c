"""ACE-Step: its networks on two frameworks, how they are denoised, and what they are shown."""
