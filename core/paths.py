"""The places of the repository and of what the studio keeps beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The top folder of the repository."""

DOCS = ROOT / "docs"
STATIC = ROOT / "ui" / "static"
"""Style sheets and scripts of the page."""


def outputs_folder() -> Path:
    """Where songs are kept: ACE_OUTPUTS_DIR, or `outputs` in the repository, whatever the working directory is."""
    return _folder("ACE_OUTPUTS_DIR", ROOT / "outputs")


def models_folder() -> Path:
    """Where checkpoints are brought to, each in a folder of its name: ACE_MODELS_DIR, or `models` in the repository."""
    return _folder("ACE_MODELS_DIR", ROOT / "models")


def nano_folder() -> Path:
    """Where nano lies: ACE_NANO_DIR, or `vendor/nano` in the repository."""
    return _folder("ACE_NANO_DIR", ROOT / "vendor" / "nano")


def vae_folder() -> Path | None:
    """The VAE that songs use instead of their checkpoint's own: ACE_VAE_DIR; None where nothing is set."""
    return Path(os.environ["ACE_VAE_DIR"]) if os.environ.get("ACE_VAE_DIR") else None


def presets_folder() -> Path:
    """Where adapters lie that are offered by name: ACE_ADAPTERS_DIR, or `adapters` in the repository."""
    return _folder("ACE_ADAPTERS_DIR", ROOT / "adapters")


def _folder(variable: str, usual: Path) -> Path:
    return Path(os.environ.get(variable) or usual)
