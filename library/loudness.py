"""How loud a recording is, and the same recording at another loudness.

Loudness is BS.1770's integrated one, in LUFS, gated by pyloudnorm; peaks are true peaks at 4x oversampling, in dBTP. A
recording is read in steps of 16 samples: one peak and one K-weighted power for each tell the meter and the limiter all
they need, so that a gain is tried without filtering the recording again and ten minutes take little memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from core.errors import Fault, RequestError
from core.steps import aside, finished
from core.tables import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]
    Floats = NDArray[np.float64]

SHORTEST_S = 0.4
"""BS.1770 measures blocks of this length: less than one has no loudness."""

TOLERANCE_LU = 0.1
"""How near a normalised recording comes to the loudness asked for, unless a note says otherwise."""

MOST_REDUCTION_DB = 12.0
"""What the limiter takes off a peak at the most. Beyond it a limiter changes the song more than its loudness."""

LOOK_AHEAD_S, HOLD_S, RELEASE_S = 0.005, 0.010, 0.1

_STEP = 16
_STEPS_HZ = SAMPLE_RATE // _STEP
_HOP = _STEPS_HZ // 10
"""Steps from one block of the meter to the next: 100 ms."""

_OVERSAMPLING = 4
_CHUNK = 10 * SAMPLE_RATE
_REACH = 16
"""Samples on either side of a point between two samples that its height is interpolated from."""

_KAISER = 9.0

_K_WEIGHTING = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585),
    (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621),
)
"""ITU-R BS.1770-4, tables 1 and 2: a shelf and a high pass for 48 kHz, as second-order sections."""

_MARGIN_DB = 0.05
"""How far below the ceiling the limiter aims: meters differ in their interpolation filters."""

_ATTEMPTS = 4
_XTOL_DB = 0.005
_GATE_LUFS = -70.0
"""BS.1770's absolute gate."""

_CLIPPED_FROM = 0.98
"""A recording is clipped where three samples in a row stand at its peak and that is at least this high."""

_OFFSET_FROM = 0.01
"""Mean of a side, as a share of full scale, from which on it is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Loudness:
    """Integrated loudness in LUFS and true peak in dBTP; both are finite."""

    lufs: float
    true_peak_db: float


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What was done to a recording: the gain on all of it, and the most that the limiter took off a peak.

    `reached` is False where the loudness asked for could not be had, and `notes` say why.
    """

    before: Loudness
    after: Loudness
    gain_db: float
    reduction_db: float
    reached: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Scan:
    """A recording in steps: true peaks `(N,)` over both sides, and root mean squares `(2, N)` after K-weighting."""

    peaks: Floats
    weighted: Floats

    def loudness(self) -> Loudness:
        return Loudness(lufs=_lufs(self.weighted), true_peak_db=_db(self.peaks.max()))


def measure(audio: Waveform) -> Loudness:
    """The loudness of a recording `(2, S)`; the same sound on both sides counts twice, as it is heard.

    Raises RequestError for the field "audio" where there is nothing to measure: samples that are not finite, less than
    0.4 seconds, nothing above the meter's gate of -70 LUFS.
    """
    return finished(_checked(audio)).loudness()


def integrated(audio: Waveform) -> float:
    """The loudness of a recording `(2, S)` in LUFS without its peaks, which are most of the work of `measure`.

    Raises RequestError as `measure` does.
    """
    _check(audio)
    return _audible(_lufs(finished(_weighted(audio))))


def normalise(audio: Waveform, lufs: float, ceiling_db: float) -> tuple[Waveform, Normalisation]:
    """As `normalising`, at once."""
    return finished(normalising(audio, lufs, ceiling_db))


def normalising(
    audio: Waveform, lufs: float, ceiling_db: float
) -> Generator[None, None, tuple[Waveform, Normalisation]]:
    """The recording `(2, S)` at an integrated loudness in LUFS whose true peaks stay under a ceiling in dBTP.

    One gain for all of it, and where peaks would pass the ceiling a limiter that both sides share: it looks 5 ms
    ahead, holds the reduction for 10 ms and lets go of it, in dB, with a time constant of 100 ms; triangular smoothing
    over the look-ahead makes every move a curve. What is given up is punch: up to `MOST_REDUCTION_DB` of the attack of
    the loudest drums, and for a tenth of a second after them the level of what sounds along. There is no compressor,
    no equaliser and no clipper. Where the peaks have room nothing but the gain changes.

    A recording that stays below the loudness with that much reduction gets the least gain that comes as near as any.
    Raises RequestError as `measure` does.
    """
    scan = yield from _checked(audio)
    before = scan.loudness()
    target, ceiling = lufs, ceiling_db - _MARGIN_DB
    for _ in range(_ATTEMPTS):
        gain_db, within_reach = yield from aside(partial(_gain_for, scan, target, ceiling))
        reduction = _reduction(scan.peaks, gain_db, ceiling)
        changed = yield from _applied(audio, gain_db, reduction)
        after = (yield from _scanned(changed)).loudness()
        missed, over = after.lufs - lufs, after.true_peak_db - ceiling_db
        if over <= 0 and (abs(missed) <= TOLERANCE_LU / 2 or not within_reach):
            break
        # The steps foretell loudness and peaks as if the filters of the meters did not notice that the gain moves.
        target -= missed if within_reach else 0.0
        ceiling -= max(over, 0.0)
    if over > 0:
        gain_db -= over + _MARGIN_DB
        changed = yield from _applied(audio, gain_db, reduction)
        after = (yield from _scanned(changed)).loudness()
    reached = abs(after.lufs - lufs) <= TOLERANCE_LU
    facts = Normalisation(
        before=before,
        after=after,
        gain_db=gain_db,
        reduction_db=float(reduction.max()),
        reached=reached,
        notes=(*_notes_on_source(audio), *(() if reached else (_short_of(lufs, after, ceiling_db),))),
    )
    return changed, facts


def _checked(audio: Waveform) -> Generator[None, None, _Scan]:
    """What there is to know of a recording that has a loudness; RequestError for one that has none."""
    _check(audio)
    scan = yield from _scanned(audio)
    _audible(_lufs(scan.weighted))
    return scan


def _scanned(audio: Waveform) -> Generator[None, None, _Scan]:
    peaks = yield from _peaks(audio)
    return _Scan(peaks, (yield from _weighted(audio)))


def _check(audio: Waveform) -> None:
    seconds = audio.shape[1] / SAMPLE_RATE
    if seconds < SHORTEST_S:
        raise _fault(round(seconds, 5), f"must last at least {SHORTEST_S:g} seconds to have a loudness")
    if not np.isfinite(audio).all():
        raise _fault("NaN or infinite", "must hold finite samples only")
    if float(np.ptp(audio, axis=1).max()) == 0:
        raise _fault("a constant", "must hold sound: every sample is the same")


def _audible(lufs: float) -> float:
    if not np.isfinite(lufs):
        raise _fault("silence", f"must hold sound above {_GATE_LUFS:g} LUFS, where the meter begins")
    return lufs


def _fault(value: object, rule: str) -> RequestError:
    return RequestError([Fault("audio", value, rule)], "Choose another recording.")


def _peaks(audio: Waveform) -> Generator[None, None, Floats]:
    """The true peaks `(N,)` of a recording over both sides, read chunk by chunk."""
    peaks = np.zeros(-(-audio.shape[1] // _STEP))
    for start in range(0, audio.shape[1], _CHUNK):
        chunk = _true_peaks(audio, start)
        peaks[start // _STEP :][: chunk.size] = chunk
        yield
    return peaks


def _weighted(audio: Waveform) -> Generator[None, None, Floats]:
    """Root mean squares `(2, N)` after K-weighting, read chunk by chunk; a last step is filled with silence."""
    from scipy.signal import sosfilt

    weighted = np.zeros((2, -(-audio.shape[1] // _STEP)))
    state = np.zeros((len(_K_WEIGHTING), 2, 2))
    for start in range(0, audio.shape[1], _CHUNK):
        chunk = audio[:, start : start + _CHUNK]
        span = slice(start // _STEP, start // _STEP - -chunk.shape[1] // _STEP)
        filtered, state = sosfilt(_K_WEIGHTING, chunk.astype(np.float64), zi=state)
        weighted[:, span] = np.sqrt(_in_steps(np.square(filtered), _STEP).mean(axis=-1))
        yield
    return weighted


def _in_steps(values: NDArray[np.floating], length: int) -> NDArray[np.floating]:
    """The values `(..., S)` as `(..., N, length)`, the last step filled with zeros."""
    missing = -values.shape[-1] % length
    if missing:
        values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    return values.reshape(*values.shape[:-1], -1, length)


def _true_peaks(audio: Waveform, start: int) -> Waveform:
    """The highest true peak of each step in the chunk that begins at a sample.

    At its ends the recording is continued by silence and by its mirror image: meters differ in which of the two they
    see there.
    """
    end = min(start + _CHUNK, audio.shape[1])
    before, after = min(start, _REACH), min(audio.shape[1] - end, _REACH)
    piece = audio[:, start - before : end + after]
    padding = [(0, 0), (_REACH - before, _REACH - after + -(end - start) % _STEP)]
    peaks = _in_steps(np.abs(audio[:, start:end]).max(axis=0), _STEP).max(axis=-1)
    for mode in ("constant", "reflect") if before < _REACH or after < _REACH else ("constant",):
        for side in np.pad(piece, padding, mode=mode):
            windows = np.lib.stride_tricks.sliding_window_view(side, _STEP + 2 * _REACH)[::_STEP]
            between = _interpolation() @ np.ascontiguousarray(windows.T)
            peaks = np.maximum(peaks, np.maximum(between.max(axis=0), -between.min(axis=0)))
    return peaks


def _interpolation() -> Waveform:
    """The matrix from a step and `_REACH` samples on either side to its three points after each of its samples.

    Each is a sum over 32 samples, weighted by a sinc under a Kaiser window, which leaves the samples themselves as they
    are: BS.1770-4's annex 2 with a longer filter.
    """
    quarters = np.arange(1, _OVERSAMPLING) / _OVERSAMPLING
    points = _REACH + np.arange(_STEP)[:, None] + quarters
    distances = np.arange(_STEP + 2 * _REACH) - points.reshape(-1, 1)
    inside = np.clip(1 - (distances / _REACH) ** 2, 0, None)
    rows = np.where(inside > 0, np.sinc(distances) * np.i0(_KAISER * np.sqrt(inside)), 0)
    matrix: Waveform = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix


def _lufs(weighted: Floats) -> float:
    """The gated loudness of root mean squares `(2, N)`; minus infinity where none passes the gate.

    The blocks of the meter hold whole steps, so that steps of known power are gated as the samples would be.
    """
    from pyloudnorm import Meter

    whole = weighted[:, : weighted.shape[1] // _HOP * _HOP]  # pyloudnorm counts a block that is not full as quieter
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no block at all
        return float(Meter(_STEPS_HZ, filter_class="custom").integrated_loudness(whole.T))


def _gain_for(scan: _Scan, lufs: float, ceiling_db: float) -> tuple[float, bool]:
    """The gain in dB that brings the limited recording to a loudness, and whether there is one.

    Where `MOST_REDUCTION_DB` forbids it, the least gain that comes as near as the highest allowed does.
    """
    from scipy.optimize import brentq

    def missed(gain_db: float, wanted: float = lufs) -> float:
        reduction = _reduction(scan.peaks, gain_db, ceiling_db)
        return max(_lufs(scan.weighted * _linear(gain_db - reduction)), _GATE_LUFS) - wanted

    unlimited = ceiling_db - _db(scan.peaks.max())
    highest = unlimited + MOST_REDUCTION_DB
    plain = lufs - _lufs(scan.weighted)
    if plain <= unlimited:
        return plain, True
    short = missed(highest)
    wanted = lufs if short >= 0 else lufs + short - TOLERANCE_LU / 2
    if missed(unlimited, wanted) >= 0:
        return unlimited, short >= 0
    return float(brentq(missed, unlimited, highest, (wanted,), xtol=_XTOL_DB)), short >= 0


def _reduction(peaks: Floats, gain_db: float, ceiling_db: float) -> Floats:
    """What the limiter takes off in dB at the middle of each step; interpolated in between, no peak passes the ceiling.

    The exponential release is a running maximum once the logarithm of the reduction is tilted by the time constant.
    """
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    # Half of the look-ahead to be all the way down, half of it to get there in a curve.
    ahead, hold = round(LOOK_AHEAD_S / 2 * _STEPS_HZ), round(HOLD_S * _STEPS_HZ)
    with np.errstate(divide="ignore"):
        needed = np.maximum(20 * np.log10(peaks) + gain_db - ceiling_db, 0.0)
        if not needed.any():
            return needed
        held = maximum_filter1d(needed, ahead + hold + 1, mode="nearest", origin=(hold - ahead) // 2)
        tilt = np.arange(peaks.size) / (RELEASE_S * _STEPS_HZ)
        released = np.exp(np.maximum.accumulate(np.log(held) + tilt) - tilt)
    # Two boxes make a triangle; the steps on either side of a peak, between which it lies, see all of its reduction.
    smooth = released
    for _ in range(2):
        smooth = uniform_filter1d(smooth, ahead - 1 + ahead % 2, mode="nearest")
    return smooth


def _applied(audio: Waveform, gain_db: float, reduction: Floats) -> Generator[None, None, Waveform]:
    """The recording turned up and limited."""
    gains = _linear(gain_db - reduction)
    middles = (np.arange(gains.size) + 0.5) * _STEP - 0.5
    changed = np.empty_like(audio)
    for start in range(0, audio.shape[1], _CHUNK):
        end = min(start + _CHUNK, audio.shape[1])
        steps = slice(max(start // _STEP - 1, 0), end // _STEP + 2)
        curve = np.interp(np.arange(start, end), middles[steps], gains[steps])
        changed[:, start:end] = audio[:, start:end] * curve
        yield
    return changed


def _notes_on_source(audio: Waveform) -> Iterator[str]:
    """What a change of loudness does not mend."""
    flat = np.zeros(audio.shape[1], dtype=bool)
    for side in audio:
        for extreme in (side.min(), side.max()):
            if abs(extreme) >= _CLIPPED_FROM:
                stands = side == extreme
                flat[2:] |= stands[2:] & stands[1:-1] & stands[:-2]
    if places := int((flat[1:] > flat[:-1]).sum()):
        times = "once" if places == 1 else f"{places} times"
        yield f"The source is clipped {times}: that can be heard at any loudness."
    offset = float(np.abs(audio.mean(axis=1, dtype=np.float64)).max())
    if offset >= _OFFSET_FROM:
        yield f"The source lies {offset:.0%} of full scale off its zero line, which costs headroom."


def _short_of(lufs: float, after: Loudness, ceiling_db: float) -> str:
    return (
        f"It reaches {after.lufs:.1f} LUFS instead of {lufs:g}: under {ceiling_db:g} dBTP, with at most "
        f"{MOST_REDUCTION_DB:g} dB taken off a peak, it comes no nearer."
    )


def _db(level: float) -> float:
    return float(20 * np.log10(level))


def _linear(level_db: Floats) -> Floats:
    linear: Floats = 10 ** (level_db / 20)
    return linear
