"""The Oobleck VAE in MLX, in float32: bfloat16 leaves 19 dB between a sound and its error, float16 37."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from networks.acestep.layouts import Config
from networks.acestep.tiling import DILATIONS, KERNEL


class Snake(nn.Module):
    """The periodic activation x + sin(ax)^2 / b, with log a and log b learned for every channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = mx.zeros((1, 1, channels))
        self.beta = mx.zeros((1, 1, channels))

    def __call__(self, states: mx.array) -> mx.array:
        """The states `(B, T, C)` after the activation."""
        return states + mx.sin(mx.exp(self.alpha) * states) ** 2 / (mx.exp(self.beta) + 1e-9)


class ResidualUnit(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        padding = KERNEL // 2 * dilation
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(channels, channels, KERNEL, padding=padding, dilation=dilation)
        self.snake2 = Snake(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def __call__(self, states: mx.array) -> mx.array:
        """The states `(B, T, C)` after the unit."""
        result: mx.array = states + self.conv2(self.snake2(self.conv1(self.snake1(states))))
        return result


class _Block(nn.Module):
    """Three residual units at one rate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res_unit1, self.res_unit2, self.res_unit3 = (ResidualUnit(channels, dilation) for dilation in DILATIONS)

    def units(self, states: mx.array) -> mx.array:
        """The states `(B, T, C)` after the units."""
        result: mx.array = self.res_unit3(self.res_unit2(self.res_unit1(states)))
        return result


class DownBlock(_Block):
    """Units, then a strided convolution."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__(into)
        self.snake1 = Snake(into)
        self.conv1 = nn.Conv1d(into, out, 2 * stride, stride=stride, padding=-(-stride // 2))

    def __call__(self, states: mx.array) -> mx.array:
        """States `(B, T / stride, out)` of states `(B, T, into)`."""
        result: mx.array = self.conv1(self.snake1(self.units(states)))
        return result


class UpBlock(_Block):
    """A strided transposed convolution, then units."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__(out)
        self.snake1 = Snake(into)
        self.conv_t1 = nn.ConvTranspose1d(into, out, 2 * stride, stride=stride, padding=-(-stride // 2))

    def __call__(self, states: mx.array) -> mx.array:
        """States `(B, T * stride, out)` of states `(B, T, into)`."""
        return self.units(_conv_transpose(self.conv_t1, self.snake1(states)))


def _conv_transpose(conv: nn.ConvTranspose1d, states: mx.array) -> mx.array:
    """A transposed convolution whose kernel is twice its stride, as one product whose halves overlap.

    MLX itself would put zeros between the states and multiply by them all.
    """
    batch, length, _ = states.shape
    out, kernel, into = conv.weight.shape
    weight = conv.weight.transpose(1, 0, 2).reshape(kernel * out, into)
    parts = (states @ weight.T).reshape(batch, length, 2, conv.stride, out)
    edge = mx.zeros((batch, 1, conv.stride, out))
    summed = mx.concatenate([parts[:, :, 0], edge], axis=1) + mx.concatenate([edge, parts[:, :, 1]], axis=1)
    samples = summed.reshape(batch, -1, out) + conv.bias
    return samples[:, conv.padding : samples.shape[1] - conv.padding]


class Encoder(nn.Module):
    """The layers from a waveform to the posterior's mean and scale."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        base, rates = config["encoder_hidden_size"], [1, *config["channel_multiples"]]
        self.conv1 = nn.Conv1d(config["audio_channels"], base, KERNEL, padding=KERNEL // 2)
        self.block = [
            DownBlock(base * into, base * out, stride)
            for into, out, stride in zip(rates[:-1], rates[1:], config["downsampling_ratios"], strict=True)
        ]
        self.snake1 = Snake(base * rates[-1])
        self.conv2 = nn.Conv1d(base * rates[-1], base, 3, padding=1)


class Decoder(nn.Module):
    """The layers from latents to a waveform."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        base, rates = config["decoder_channels"], [1, *config["channel_multiples"]]
        strides = list(reversed(config["downsampling_ratios"]))
        self.conv1 = nn.Conv1d(config["decoder_input_channels"], base * rates[-1], KERNEL, padding=KERNEL // 2)
        self.block = [
            UpBlock(base * into, base * out, stride)
            for into, out, stride in zip(reversed(rates[1:]), reversed(rates[:-1]), strides, strict=True)
        ]
        self.snake1 = Snake(base)
        self.conv2 = nn.Conv1d(base, config["audio_channels"], KERNEL, padding=KERNEL // 2, bias=False)


class Vae(nn.Module):
    """Both ways between waveforms and latents, `(B, T, C)` each."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self._channels = config["decoder_input_channels"]

    def encode(self, waveform: mx.array) -> mx.array:
        """The posterior's mode `(B, T, C)` of a waveform `(B, T * hop, 2)`."""
        return self._run(self.encoder, waveform)[..., : self._channels]

    def decode(self, latents: mx.array) -> mx.array:
        """The waveform `(B, T * hop, 2)` of latents `(B, T, C)`."""
        return self._run(self.decoder, latents)

    def _run(self, half: Encoder | Decoder, states: mx.array) -> mx.array:
        states = half.conv1(states)
        for block in half.block:
            states = block(states)
        result: mx.array = half.conv2(half.snake1(states))
        return result

    def drop_idle_units(self) -> None:
        """Leave out residual units that add nothing: nano's full-rate units are such, and take most of its time."""
        for path, unit in self.named_modules():
            if isinstance(unit, ResidualUnit) and not (unit.conv2.weight.any() or unit.conv2.bias.any()):
                owner, _, name = path.rpartition(".")
                setattr(dict(self.named_modules())[owner], name, nn.Identity())
