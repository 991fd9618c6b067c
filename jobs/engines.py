"""The families of models that render songs, one row each: how they are opened, weighed, and what they make."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from core.events import Preview, Progress
from networks import memory
from networks.acestep.layouts import layout_of, shape_of
from networks.machine import Machine, Offload
from networks.memory import Weights

if TYPE_CHECKING:
    from checkpoints.find import Installed
    from core.plans import Plan
    from networks.acestep.job import Job, Take
    from networks.acestep.previews import Previews
    from networks.acestep.runtime import Runtime
    from networks.musicgen.model import MusicGen


class Engine(Protocol):
    """A family of models that can render a request.

    Its networks close, rest, tell where they run and the most memory that they held, as `Runtime` does. `offloads` is
    whether weights of it can wait in the host's memory.
    """

    offloads: bool

    def opening(self, place: Installed, machine: Machine, offload: Offload) -> Generator[None, None, Any]:
        """Load a checkpoint, with steps between which it can be closed."""
        ...

    def weigh(self, place: Installed, machine: Machine) -> Weights:
        """What its weights take on that machine."""
        ...

    def rendered(
        self, job: Job, networks: Any, plans: list[Plan], previews: Previews
    ) -> Iterator[Progress | Preview | Take]:
        """Progress and previews, then one Take for each variation of a planned song."""
        ...

    def latent_shape(self, place: Installed, samples: int) -> tuple[int, int] | None:
        """The shape `(T, C)` of the latents that are kept of a song of so many samples; None where none are."""
        ...


class AceStep:
    """ACE-Step, on torch and MLX: nano and what is published."""

    offloads = True

    def opening(self, place: Installed, machine: Machine, offload: Offload) -> Generator[None, None, Runtime]:
        """Load a checkpoint of either layout."""
        from networks.acestep.open import opening

        return opening(
            place.folder,
            place.companion,
            vae=place.other_vae,
            runtime=machine.runtime,
            device=machine.device,
            dtype=machine.dtype,
            bits=machine.bits,
            offload=offload,
        )

    def weigh(self, place: Installed, machine: Machine) -> Weights:
        """What its networks, those of the companion and another VAE take."""
        return memory.weights_of_song(place.folder, place.companion, place.other_vae, machine)

    def rendered(
        self, job: Job, networks: Runtime, plans: list[Plan], previews: Previews
    ) -> Iterator[Progress | Preview | Take]:
        """The stages of the pipeline."""
        from pipeline import rendered

        return rendered(job, networks, plans, previews)

    def latent_shape(self, place: Installed, samples: int) -> tuple[int, int]:
        """The VAE's frames and channels."""
        shape = shape_of(layout_of(place.folder, place.companion, place.other_vae).configs)
        return shape.frames_of(samples), shape.channels


class MusicGenEngine:
    """MusicGen, on torch."""

    offloads = False

    def opening(self, place: Installed, machine: Machine, offload: Offload) -> Generator[None, None, MusicGen]:
        """Load a checkpoint as transformers saves it."""
        from networks.musicgen.open import opening

        return opening(place.folder, device=machine.device, dtype=machine.dtype)

    def weigh(self, place: Installed, machine: Machine) -> Weights:
        """What text encoder, decoder and EnCodec take."""
        return memory.weights_of_musicgen(place.folder, machine)

    def rendered(
        self, job: Job, networks: MusicGen, plans: list[Plan], previews: Previews
    ) -> Iterator[Progress | Take]:
        """Tokens, window by window, and their sound; there is nothing of it to hear before."""
        from jobs.musicgen import rendered

        return rendered(job, networks, plans)

    def latent_shape(self, place: Installed, samples: int) -> None:
        """None: what is gone on from is encoded from the sound."""


ENGINES: Mapping[str, Engine] = MappingProxyType({"acestep": AceStep(), "musicgen": MusicGenEngine()})
"""By the name that a recipe gives its engine."""


def engine_of(place: Installed) -> Engine:
    """What renders with an installed song's checkpoint."""
    recipe = place.checkpoint.recipe
    assert recipe is not None, "a song's checkpoint has a recipe"
    return ENGINES[recipe.engine]
