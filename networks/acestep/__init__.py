"""ACE-Step: its networks on two frameworks, the sampler that denoises with them, and their inputs."""
