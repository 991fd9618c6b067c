"""Nano as a folder in diffusers' ACE-Step layout, float16 safetensors: put together and taken apart."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler

from training.codes import Codes, load_codes
from training.dit import START, Renderer, load_renderer, silence_of
from training.text import load_tokenizer
from training.vae import LATENTS, compact_of, export, load_vae

LOG = logging.getLogger("training")
MAX_BYTES = 60_000_000
_SILENCE_FRAMES = 15_000


@torch.no_grad()
def assemble(work: Path, out: Path) -> None:
    """Write the checkpoint made of the stages in `work` to `out`; raises ValueError when it is larger than 60 MB."""
    compact, scale = load_vae(work)
    renderer, codes = load_renderer(work), load_codes(work)
    renderer.conditions.silence_latent = silence_of(compact, scale).expand(1, _SILENCE_FRAMES, LATENTS).clone()
    del codes.tokenizer.quantizer._quantize  # the straight-through rounding of the training
    pipeline = AceStepPipeline(
        vae=export(compact, scale),
        text_encoder=renderer.text_encoder,
        tokenizer=load_tokenizer(work),
        transformer=renderer.transformer,
        condition_encoder=renderer.conditions,
        audio_tokenizer=codes.tokenizer,
        audio_token_detokenizer=codes.detokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipeline.save_pretrained(out, safe_serialization=True)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"the checkpoint has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    LOG.info("%s: %.1f MB", out, size / 1e6)


@torch.no_grad()
def disassemble(checkpoint: Path, work: Path) -> None:
    """Save the parts of a finished `checkpoint` as if the stages in `work` had just trained them.

    The renderer becomes the point where its next training starts; every other stage counts as finished.
    """
    pipeline = AceStepPipeline.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True)
    _save(work / "vae.pt", compact_of(pipeline.vae))
    torch.save({"mean": torch.zeros(LATENTS), "std": torch.ones(LATENTS)}, work / "scale.pt")
    pipeline.tokenizer.save_pretrained(work / "tokenizer")
    codes = Codes()
    codes.tokenizer.load_state_dict(pipeline.audio_tokenizer.state_dict())
    codes.detokenizer.load_state_dict(pipeline.audio_token_detokenizer.state_dict())
    _save(work / "codes.pt", codes)
    renderer = Renderer(len(pipeline.tokenizer))
    renderer.text_encoder.load_state_dict(pipeline.text_encoder.state_dict())
    renderer.transformer.load_state_dict(pipeline.transformer.state_dict())
    renderer.conditions.load_state_dict(pipeline.condition_encoder.state_dict(), strict=False)
    _save(work / START, renderer)


def _save(path: Path, model: torch.nn.Module) -> None:
    torch.save({"average": model.state_dict()}, path)
