"""The training's parts that numbers can prove without training: detectors, exact export, pairs and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import training.measures as measure
from core.music import Music
from core.paths import nano_folder
from planner.composer.score import Brief, compose, sketch
from planner.composer.styles import styles
from training.assemble import assemble, disassemble
from training.captions import caption, draw_lyrics
from training.dit import START
from training.evaluate import Row, table, write_report
from training.loop import TrainingSettings, load_average, train
from training.pairs import FRAMES, Pool
from training.synthesis import SOUNDS, excerpt, styled
from training.vae import CompactVae, Scale, compact_of, export, spectral_loss

RATE = 48_000


def clicks(bpm: float, seconds: float = 12.0) -> np.ndarray:
    """A tone of 1 kHz for 30 ms at every beat."""
    audio = np.zeros(round(seconds * RATE), dtype=np.float32)
    tick = np.sin(2 * np.pi * 1000 * np.arange(1440) / RATE).astype(np.float32)
    for beat in np.arange(0, seconds - 0.1, 60 / bpm):
        audio[round(beat * RATE) :][: len(tick)] += tick
    return np.stack([audio, audio])


def tones(pitches: tuple[int, ...], seconds: float = 4.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t) for pitch in pitches)
    return np.stack([wave, wave]).astype(np.float32) * 0.1


@pytest.mark.parametrize("bpm", [72, 100, 137, 165])
def test_the_tempo_of_clicks_is_found_up_to_an_octave(bpm: float) -> None:
    assert measure.related_tempo(measure.tempo(clicks(bpm)), bpm)


def test_tempos_far_apart_are_not_called_related() -> None:
    assert measure.related_tempo(60, 120)
    assert measure.related_tempo(90, 60)
    assert not measure.related_tempo(100, 118)
    assert not measure.same_tempo(60, 120)


def test_a_scale_sounds_like_its_key_and_lies_in_it() -> None:
    energy = measure.chroma(tones((57, 59, 60, 62, 64, 65, 67, 69, 45, 52, 57, 45)))
    assert measure.in_scale(energy, "A minor") > 0.9
    assert measure.in_scale(energy, "F# major") < 0.45
    assert measure.related_key(measure.key(energy), "A minor")


def test_distortion_of_a_known_share_has_the_ratio_of_its_decibels() -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((2, RATE)).astype(np.float32)
    noise = rng.standard_normal((2, RATE)).astype(np.float32)
    assert measure.si_sdr((0.3 * (true + 0.1 * noise)).astype(np.float32), true) == pytest.approx(20.0, abs=0.2)


def test_the_mel_distance_of_half_the_level_is_six_decibels() -> None:
    true = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    assert measure.mel_distance(0.5 * true, true) == pytest.approx(6.02, abs=0.05)


def test_pitches_agree_with_themselves_and_not_with_others() -> None:
    assert measure.pitch_agreement(tones((69,)), tones((69,))) == 1.0
    assert measure.pitch_agreement(tones((69,)), tones((73,))) < 0.1


def test_noise_silence_and_clipping_are_told_apart() -> None:
    noise = np.random.default_rng(0).standard_normal((2, RATE)).astype(np.float32)
    assert measure.flatness(noise) > 0.5
    assert measure.flatness(tones((69,))) < 0.01
    assert measure.silent_share(np.zeros((2, RATE), np.float32)) == 1.0
    assert measure.silent_share(tones((69,))) == 0.0
    assert measure.clipped_share(np.clip(noise, -1, 1)) > 0.1


def test_every_style_has_a_sound_and_they_differ() -> None:
    assert set(SOUNDS) == set(styles())
    score = compose(Brief(music=Music(caption="pop", duration_s=4.0), seed=1))
    waves = [styled(score, style) for style in styles()]
    for i, wave in enumerate(waves):
        assert wave.shape == (2, 4 * RATE)
        assert 0.03 < np.sqrt(np.mean(wave**2)) < 0.3
        assert all(measure.mel_distance(wave, other) > 2.0 for other in waves[:i])


def test_an_excerpt_sounds_like_the_same_part_of_the_whole() -> None:
    score = compose(Brief(music=Music(caption="pop", duration_s=12.0, bpm=120), seed=1))
    part = sketch(excerpt(score, 4.0, 4.0))
    assert part.shape == (2, 4 * RATE)
    assert np.allclose(part[:, RATE : 3 * RATE], sketch(score)[:, 5 * RATE : 7 * RATE], atol=1e-3)


def test_captions_of_a_style_mostly_name_it_and_lyrics_are_tagged() -> None:
    rng = np.random.default_rng(0)
    captions = [caption("jazz", rng).lower() for _ in range(200)]
    words = styles()["jazz"].words
    assert np.mean([any(word in text for word in ("jazz", *words)) for text in captions]) > 0.7
    assert len(set(captions)) > 150
    lyrics = [text for text in (draw_lyrics(rng) for _ in range(40)) if text]
    assert 10 < len(lyrics) < 30
    assert all(text.startswith("[") for text in lyrics)


def test_a_pair_is_one_piece_three_times() -> None:
    pool = Pool(0, lambda wave: torch.from_numpy(wave[:, ::480].T.copy()), start=1, interval=2)
    pair = pool.draw(1)[0]
    assert pair.made.shape == pair.sketch.shape == pair.other.shape == (FRAMES, 2)
    assert pair.made.dtype == torch.float16
    assert not torch.equal(pair.made, pair.sketch)
    pool.draw(1)
    assert len(pool.pairs) == 2


def test_the_exported_autoencoder_equals_the_compact_one() -> None:
    torch.manual_seed(0)
    compact, scale = CompactVae(), Scale(torch.randn(16), torch.rand(16) + 0.5)
    vae, audio = export(compact, scale), 0.1 * torch.randn(1, 2, 96_000)
    with torch.no_grad():
        latents = compact.encode(audio)
        standardised = (latents - scale.mean[:, None]) / scale.std[:, None]
        assert (vae.encode(audio).latent_dist.mode() - standardised).abs().max() < 1e-4
        difference = (vae.decode(standardised).sample - compact.decode(latents))[..., 14_400:-14_400]
    assert difference.abs().max() < 1e-2 * compact.decode(latents).std()


def test_the_compact_autoencoder_comes_back_from_its_export() -> None:
    torch.manual_seed(0)
    compact, scale = CompactVae(), Scale(torch.randn(16), torch.rand(16) + 0.5)
    audio = 0.1 * torch.randn(1, 2, 9_600)
    vae = export(compact, scale)
    back = compact_of(vae)
    with torch.no_grad():
        latents = vae.encode(audio).latent_dist.mode()
        assert torch.allclose(back.encode(audio), latents, atol=1e-4)
        assert torch.allclose(back.decode(latents), vae.decode(latents).sample, atol=1e-5)


def test_a_checkpoint_taken_apart_is_the_same_when_it_is_put_together(tmp_path: Path) -> None:
    disassemble(nano_folder(), tmp_path)
    (tmp_path / START).rename(tmp_path / "dit.pt")
    assemble(tmp_path, tmp_path / "again")
    for part in ("transformer", "condition_encoder", "audio_tokenizer", "audio_token_detokenizer"):
        path = f"{part}/diffusion_pytorch_model.safetensors"
        old, new = load_file(nano_folder() / path), load_file(tmp_path / "again" / path)
        assert old.keys() == new.keys()
        assert all(torch.allclose(old[key].float(), new[key].float(), atol=2e-3) for key in old)


def test_the_spectral_loss_is_nothing_for_equals_and_grows_with_the_error() -> None:
    torch.manual_seed(0)
    true = 0.1 * torch.randn(1, 2, 12_000)
    near, far = (spectral_loss(true + level * torch.randn_like(true), true) for level in (0.01, 0.1))
    assert spectral_loss(true, true) < 1e-3
    assert 0 < near < far


def test_training_saves_resumes_and_gets_better(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = torch.nn.Linear(4, 1), torch.randn(64, 4)
    target = inputs @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])

    def loss() -> torch.Tensor:
        return (model(inputs) - target).square().mean()

    before = loss().item()
    train(model, loss, TrainingSettings(0.02, 5e-2, tmp_path / "line.pt"))
    saved = torch.load(tmp_path / "line.pt", weights_only=True)
    assert loss().item() < 0.5 * before
    train(model, loss, TrainingSettings(0.03, 5e-2, tmp_path / "line.pt"))
    again = torch.load(tmp_path / "line.pt", weights_only=True)
    assert again["step"] > saved["step"]
    fresh = torch.nn.Linear(4, 1)
    load_average(tmp_path / "line.pt", fresh)
    assert torch.allclose(fresh.weight, model.weight)


def test_the_report_takes_the_place_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "nano.md"
    page.write_text("a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nb\n", encoding="utf-8")
    rows = [Row("tempo", 1.0, 0.5, 0.2, ">= 0.90", False), Row("flatness", None, 0.001, None, "<= 0.02", True)]
    write_report(table(rows), page)
    text = page.read_text(encoding="utf-8")
    assert "| tempo | 1.00 | 0.50 | 0.20 | >= 0.90 (missed) |" in text
    assert "| flatness |  | 0.0010 |  | <= 0.02 |" in text
    assert text.startswith("a\n")
    assert text.endswith("b\n")
    assert "old" not in text
