"""DCW, the correction after each solver step: what can be chosen of it.

Differential correction in the wavelet domain (arXiv:2604.16044); networks/acestep/dcw.py does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DcwMode = Literal["double", "low", "high", "pix"]
Wavelet = Literal["haar", "db2", "db4", "sym4", "sym8", "coif2"]

SHAPING = ("dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet")
"""Knobs that say how to correct: without a correction they mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Dcw:
    """A correction: of which bands, how strongly, and by which wavelet they are told apart."""

    mode: DcwMode
    scaler: float
    high_scaler: float
    wavelet: Wavelet


def idle_beside(enabled: bool | None, mode: DcwMode | None) -> dict[str, str]:
    """Knobs of the correction that mean nothing beside these two, with the reason; None is not decided yet."""
    if enabled is False:
        return dict.fromkeys(SHAPING, "needs dcw_enabled")
    idle = {}
    if mode not in (None, "double"):
        idle["dcw_high_scaler"] = "belongs to the dcw_mode double"
    if mode == "pix":
        idle["dcw_wavelet"] = "means nothing to the dcw_mode pix, which knows no bands"
    return idle
