"""Nano from nothing with one command: `python -m training`.

Composes and renders its own music, trains the autoencoder, the codes and the renderer, and writes vendor/nano.
Every stage saves as it goes and resumes where it stopped; a stage that is finished is skipped. At last the checkpoint
is measured; what ships writes its table into docs/nano.md.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

from core.paths import nano_folder
from training.assemble import assemble, disassemble
from training.codes import train_codes
from training.dit import train_dit
from training.evaluate import measure_checkpoint
from training.loop import in_parallel
from training.text import train_tokenizer
from training.vae import load_vae, train_vae


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train nano from nothing.")
    parser.add_argument("--work", type=Path, default=Path(".cache/training"), help="where the stages save")
    parser.add_argument("--out", type=Path, default=nano_folder(), help="the checkpoint to write")
    parser.add_argument("--vae-minutes", type=float, default=35.0)
    parser.add_argument("--codes-minutes", type=float, default=4.0)
    parser.add_argument("--dit-minutes", type=float, default=45.0)
    parser.add_argument(
        "--renderer-of", type=Path, metavar="CHECKPOINT", help="go on with this checkpoint's renderer, keep the rest"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    warnings.filterwarnings("ignore", category=FutureWarning)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.renderer_of is None:
        in_parallel(train_vae, options.work, options.vae_minutes)
        load_vae(options.work)
        train_tokenizer(options.work)
        in_parallel(train_codes, options.work, options.codes_minutes)
    else:
        disassemble(options.renderer_of, options.work)
    in_parallel(train_dit, options.work, options.dit_minutes)
    assemble(options.work, options.out)
    measure_checkpoint(options.out, write=options.out.resolve() == nano_folder().resolve())


if __name__ == "__main__":
    main()
