"""Recordings in and out: any audio file as 48 kHz stereo samples, and those as a wav file.

Waveforms are float32 arrays `(2, S)` at 48 kHz. What `load` returns lies on the grid of 24-bit audio, and
`save_wav` writes that grid: samples that nobody touches come out of the studio bit for bit as they came in.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
import soundfile
import soxr

from core.errors import Fault, RequestError
from core.files import write_whole
from core.tables import LONGEST_S, SAMPLE_RATE
from library.containers import cut_off, wav_format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]

RATES_HZ = (8_000, 192_000)
SHORTEST_S = 0.5
SILENCE_DB = -80.0
"""A recording whose peak stays below this many dBFS holds nothing to work on."""

_UNTOLD_FRAMES = 2**60
"""libsndfile counts so many and more in a FLAC that does not say how long it is; FFmpeg reads it to its end."""

_FULL_SCALE = 2**23
_COMPLETE = 0.9
"""A file that decodes to less than this share of the length in its header is broken off."""

_CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,caf,eac3,flac,matroska,mov,mp3,mpegts,ogg,tta,w64,wav,wv"
"""The demuxers of PyAV that hold audio. Playlists are not among them: they name other files and addresses."""

_HALF_POWER = 0.5**0.5
_DOWNMIX: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("FL", "FLC", "DL", "BIL", "SDL"), (1.0, 0.0)),
    **dict.fromkeys(("FR", "FRC", "DR", "BIR", "SDR"), (0.0, 1.0)),
    **dict.fromkeys(("FC", "TFC", "BFC"), (_HALF_POWER, _HALF_POWER)),
    **dict.fromkeys(("BL", "SL", "WL", "TFL", "TSL", "TBL", "BFL", "SSL", "TTL"), (_HALF_POWER, 0.0)),
    **dict.fromkeys(("BR", "SR", "WR", "TFR", "TSR", "TBR", "BFR", "SSR", "TTR"), (0.0, _HALF_POWER)),
    **dict.fromkeys(("BC", "TC", "TBC"), (0.5, 0.5)),
    **dict.fromkeys(("LFE", "LFE2"), (0.0, 0.0)),
}
"""What each channel of a surround recording gives to left and right.

ITU-R BS.775 for the ear-level channels in front and around; those above and below go where the one at ear level goes.
"""

MOST_UNPLACED = 8
"""So many channels have a usual order where a file does not say where they stand."""

ANOTHER = "Choose another recording."
"""What to do about one that is of no use."""

Tag = Literal["title", "artist", "comment", "date", "genre", "software"]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about itself; `seconds` is None where it does not say."""

    sample_rate: int
    channels: int
    seconds: float | None


def probe(path: Path, field: str = "audio") -> Header:
    """The header of an audio file, in a few milliseconds.

    Raises RequestError, with `field` as the name of the fault, for whatever a header can tell: no such file, 0 bytes,
    not audio, a rate outside `RATES_HZ`, a length outside `SHORTEST_S` to `LONGEST_S`, more than `MOST_UNPLACED`
    channels of which nobody knows where they stand.
    """
    with _naming(path, field):
        return _probe(path)


def load(path: Path, field: str = "audio") -> Waveform:
    """The recording `(2, S)` at 48 kHz on the 24-bit grid; its peak is at most 1.

    Mono goes to both sides, surround is folded down. Raises RequestError as `probe` does, and for a broken file, for
    samples that are not finite and for silence.
    """
    with _naming(path, field):
        header = _probe(path)
        samples = _decode(path, header)
        if not np.isfinite(samples).all():
            raise _Broken("must hold finite samples only")
        peak = float(np.abs(samples).max(initial=0.0))
        if peak < 10 ** (SILENCE_DB / 20):
            raise _Broken(f"must not be silent: its peak is below {SILENCE_DB:g} dBFS")
        stereo = np.broadcast_to(samples, (2, samples.shape[1]))
        return _on_grid(limit_peak(resample(stereo, header.sample_rate, SAMPLE_RATE)))


def resample(audio: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """The waveform `(C, S)` at another rate: `(C, round(S * to_hz / from_hz))`."""
    if from_hz == to_hz:
        return audio
    resampled: Waveform = soxr.resample(audio.T, from_hz, to_hz, quality="HQ").T
    return np.ascontiguousarray(resampled)


def limit_peak(audio: Waveform) -> Waveform:
    """The waveform turned down until its peak is 1; one that is not louder comes back as it is, never turned up."""
    peak = float(np.abs(audio).max(initial=0.0))
    return audio if peak <= 1 else audio / np.float32(peak)


def splice(original: Waveform, rendered: Waveform, window: tuple[int, int], fade: int) -> Waveform:
    """The original `(2, S)` with the samples `[start, end)` of `rendered` `(2, S)` in it.

    The linear crossfades of `fade` samples lie outside the window; beyond them every sample is the original's, bit for
    bit. A fade that would reach past an end of the recording is shorter.
    """
    start, end = window
    before = np.arange(max(0, start - fade), start)
    after = np.arange(end, min(end + fade, original.shape[1]))
    spliced = original.copy()
    spliced[:, start:end] = rendered[:, start:end]
    for span, weight in ((before, _ramp(before.size)), (after, _ramp(after.size)[::-1])):
        spliced[:, span] += weight * (rendered[:, span] - original[:, span])
    return spliced


def _ramp(samples: int) -> Waveform:
    """Weights that rise from just above 0 to just below 1."""
    return np.linspace(0, 1, samples + 2, dtype=np.float32)[1:-1]


def save_wav(path: Path, audio: Waveform, tags: Mapping[Tag, str] | None = None) -> None:
    """Write `audio` `(2, S)` into the file as 48 kHz 24-bit PCM, which everything plays.

    24 bits hold every sample that `load` returns exactly. Samples beyond full scale are cut off there. Raises OSError.
    """
    # Through memory: libsndfile tells a full disk by a failed assertion, Python by an OSError.
    wav = io.BytesIO()
    with soundfile.SoundFile(wav, "w", SAMPLE_RATE, channels=2, subtype="PCM_24", format="WAV") as file:
        for name, text in (tags or {}).items():
            setattr(file, name, text)
        file.write(as_integers(audio, 24).T)
    write_whole(path, wav.getbuffer())


def as_integers(audio: NDArray[np.floating], bits: int) -> NDArray[np.int32]:
    """The samples rounded to so many bits, at the top of words of 32, as libsndfile takes them without changing one.

    Floats it scales by 2^(bits - 1) - 1 when it writes and by 2^(bits - 1) when it reads.
    """
    full_scale = 2 ** (bits - 1)
    grid = np.rint(audio * np.float64(full_scale)).clip(-full_scale, full_scale - 1)
    return grid.astype(np.int32) << (32 - bits)


class _Broken(Exception):
    """The rule that a file breaks."""


@contextlib.contextmanager
def _naming(path: Path, field: str) -> Iterator[None]:
    """Turn what a file breaks into a fault of the request's field."""
    try:
        yield
    except _Broken as broken:
        raise RequestError([Fault(field, path.name, str(broken))], ANOTHER) from None
    except MemoryError:
        raise
    except Exception as error:  # of a damaged file a decoder may raise anything
        rule = f"must be a complete audio file (wav, flac, mp3, ogg, m4a, ...){_told_of(path)}"
        raise RequestError([Fault(field, path.name, rule)], ANOTHER) from error


def _told_of(path: Path) -> str:
    """What a wav that nobody reads says of its samples."""
    with contextlib.suppress(OSError):
        if told := wav_format(path):
            return f"; this wav's samples are of the format {told}"
    return ""


def _probe(path: Path) -> Header:
    if not path.is_file():
        raise _Broken("must be a file that exists")
    if path.stat().st_size == 0:
        raise _Broken("must not be empty: it has 0 bytes")
    if missing := cut_off(path):
        raise _Broken(missing)
    header = _soundfile_header(path) or _av_header(path)
    if not RATES_HZ[0] <= header.sample_rate <= RATES_HZ[1]:
        raise _Broken(f"must be sampled at {RATES_HZ[0]} to {RATES_HZ[1]} Hz, not at {header.sample_rate} Hz")
    if header.seconds is not None:
        _check_length(header.seconds)
    return header


def _check_length(seconds: float) -> None:
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise _Broken(f"must last {SHORTEST_S:g} to {LONGEST_S:g} seconds, not {seconds:.4g}")


def _soundfile_header(path: Path) -> Header | None:
    """None for what libsndfile does not read, and for surround, whose channel order it does not tell."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, TypeError):
        return None
    if info.channels > 2 or info.frames >= _UNTOLD_FRAMES:
        return None
    return Header(sample_rate=info.samplerate, channels=info.channels, seconds=info.frames / info.samplerate)


def _av_header(path: Path) -> Header:
    with _open_av(path) as (container, stream):
        seconds = None
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / av.time_base
        codec = stream.codec_context
        if codec is None or not codec.channels:
            raise _Broken(f"must hold sound in a codec that is known here{_told_of(path)}")
        _positions(codec.layout)
        return Header(sample_rate=codec.sample_rate, channels=codec.channels, seconds=seconds)


@contextlib.contextmanager
def _open_av(path: Path) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    # Tags are not read here, and those of old files are not always UTF-8.
    with av.open(str(path), options={"format_whitelist": _CONTAINERS}, metadata_errors="replace") as container:
        if not container.streams.audio:
            raise _Broken("must hold sound")
        yield container, container.streams.audio[0]


def _decode(path: Path, header: Header) -> Waveform:
    """The samples `(1 or 2, S)` at the file's own rate; never much more than the longest allowed."""
    most = int(LONGEST_S * header.sample_rate) + 1
    samples: Waveform
    if _soundfile_header(path):
        samples = soundfile.read(path, frames=most, dtype="float32", always_2d=True)[0].T
    else:
        samples = _decode_av(path, most)
    seconds = samples.shape[1] / header.sample_rate
    if header.seconds is not None and seconds < _COMPLETE * header.seconds:
        raise _Broken(f"breaks off after {seconds:.4g} of {header.seconds:.4g} seconds")
    _check_length(seconds)
    return samples


def _decode_av(path: Path, most: int) -> Waveform:
    blocks: list[Waveform] = []
    length = 0
    # Interleaved: PyAV looks for the planes of a frame in a list that ends after eight, and reads beyond its end.
    to_floats = av.AudioResampler(format="flt")
    first: tuple[str, int] | None = None
    with _open_av(path) as (container, stream):
        for frame in container.decode(stream):
            first = first or (frame.layout.name, frame.sample_rate)
            if (frame.layout.name, frame.sample_rate) != first:
                raise _Broken("must keep its rate and its channels from start to end")
            positions = _positions(frame.layout)
            for floats in to_floats.resample(frame):
                samples = floats.to_ndarray().astype(np.float32, copy=False).reshape(-1, len(positions)).T
                blocks.append(_fold(samples, positions))
                length += blocks[-1].shape[1]
            if length >= most:
                break
    if not blocks:
        raise _Broken("must hold sound")
    return np.concatenate(blocks, axis=1)


def _positions(layout: av.AudioLayout) -> list[str]:
    """Where each channel stands; in a file that does not say, the usual place for its number of channels."""
    positions = [channel.name for channel in layout.channels]
    if len(positions) <= 2 or set(positions) & set(_DOWNMIX):
        return positions
    if len(positions) > MOST_UNPLACED:
        rule = f"must say where each of its {len(positions)} channels stands, or have at most {MOST_UNPLACED}"
        raise _Broken(rule)
    return [channel.name for channel in av.AudioLayout(f"{len(positions)}c").channels]


def _fold(samples: Waveform, positions: list[str]) -> Waveform:
    """Surround `(C, S)` as stereo `(2, S)`, scaled so that no input can clip; mono and stereo as they are."""
    if len(positions) <= 2:
        return samples
    gains = np.array([_DOWNMIX.get(position, (0.5, 0.5)) for position in positions], dtype=np.float32).T
    folded: Waveform = gains / gains.sum(axis=1).max() @ samples
    return folded


def _on_grid(audio: Waveform) -> Waveform:
    """The waveform with every sample rounded to a multiple of 2^-23 within [-1, 1)."""
    rounded: Waveform = np.rint(audio * np.float32(_FULL_SCALE)) / np.float32(_FULL_SCALE)
    clipped: Waveform = rounded.clip(-1, 1 - 1 / _FULL_SCALE)
    return clipped
