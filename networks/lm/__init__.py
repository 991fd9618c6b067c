"""Language models in PyTorch and in MLX: tokens in, logits out, and the sampler."""
