"""DCW: after a solver step the bands of the latents are pushed away from the clean latents predicted in it.

The noise left in x_t drifts from what its level promises, in slow and in quick changes differently; this leads it back
(arXiv:2604.16044, upstream's `DCWCorrector`). No network is asked.
"""

from __future__ import annotations

from torch import Tensor

from core.dcw import Dcw
from networks.acestep.wavelets import join, split


def correct(x: Tensor, clean: Tensor, t: float, dcw: Dcw) -> Tensor:
    """Latents `(B, T, C)` after a step that began at level `t` and predicted the `clean` ones, corrected."""
    if dcw.mode == "pix":
        return x + dcw.scaler * (x - clean)
    low, high = _strengths(t, dcw)
    if low == high == 0:
        return x
    # The bands are sums: those of the difference are the differences of the bands.
    slow, quick = split(x.float() - clean.float(), dcw.wavelet)
    return (x.float() + join(low * slow, high * quick, dcw.wavelet, x.shape[1])).to(x)


def _strengths(t: float, dcw: Dcw) -> tuple[float, float]:
    """How strongly the low and the high band are corrected: the low one while there is noise, the high one later."""
    match dcw.mode:
        case "low":
            return t * dcw.scaler, 0.0
        case "high":
            return 0.0, (1 - t) * dcw.scaler
    return t * dcw.scaler, (1 - t) * dcw.high_scaler
