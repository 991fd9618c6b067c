"""What is loaded: a song's networks, a planner, a lyric writer, each at most once; no framework until then."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from core.errors import OutOfMemory, StudioError
from core.events import Progress
from jobs.work import Need, Role
from networks.machine import Bits, DeviceKind, Machine, has_bfloat16_units, likely_device, process_peak_gb

if TYPE_CHECKING:
    from checkpoints.find import Installed
    from networks.acestep.runtime import Runtime
    from networks.demucs.separator import Separator
    from networks.lm.model import LanguageModel
    from planner.lm.planner import LmPlanner

WRITER_BITS: Bits = 4
"""To so many bits the weights of a lyric writer are packed where the framework can (MLX): words bear it."""

Event = TypeVar("Event")
log = logging.getLogger(__name__)


class Closable(Protocol):
    """Networks that can be freed."""

    def close(self) -> None:
        """Free the weights."""
        ...


@dataclass(frozen=True)
class Loaded:
    """Networks in memory, what they were built from and on what, and what is not as usual about them."""

    need: Need
    machine: Machine
    networks: Closable
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How weights are opened in a role, and which other roles they have no room beside."""

    open: Callable[[Installed, Machine], Closable]
    displaces: tuple[Role, ...]


def _open_song(place: Installed, machine: Machine) -> Runtime:
    from networks.acestep.open import open_runtime

    return open_runtime(place.folder, place.companion, vae=place.other_vae, **vars(machine))


def _open_planner(place: Installed, machine: Machine) -> LmPlanner:
    from planner.lm.planner import LmPlanner

    return LmPlanner(_open_language_model(place, machine, None), place.checkpoint.name)


def _open_writer(place: Installed, machine: Machine) -> LanguageModel:
    return _open_language_model(place, machine, WRITER_BITS)


def _open_language_model(place: Installed, machine: Machine, bits: Bits | None) -> LanguageModel:
    from networks.lm.model import open_language_model

    return open_language_model(place.folder, **{**vars(machine), "bits": bits})


def _open_separator(place: Installed, machine: Machine) -> Separator:
    from networks.demucs.open import open_separator

    return open_separator(place.folder, machine.device, digests=place.checkpoint.digests)


LOADERS: Mapping[Role, Loader] = MappingProxyType(
    {
        "song": Loader(open=_open_song, displaces=("writer",)),
        "planner": Loader(open=_open_planner, displaces=("writer",)),
        # A writer is there alone: it is as large as a song's checkpoint, and both are quickly loaded again.
        "writer": Loader(open=_open_writer, displaces=("song", "planner")),
        "stems": Loader(open=_open_separator, displaces=("writer",)),
    }
)


class Models:
    """The networks of one device, each in its role. Several of these live in one process without knowing each other.

    `number` names it within the process and within those that are forked from it.
    """

    _numbers: ClassVar = itertools.count()
    _open: ClassVar[weakref.WeakValueDictionary[int, Models]] = weakref.WeakValueDictionary()

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.number = next(self._numbers)
        self._loaded: dict[Role, Loaded] = {}
        self._open[self.number] = self

    @classmethod
    def numbered(cls, number: int) -> Models:
        """The models of that number; in a forked process its copy of them."""
        return cls._open[number]

    def load(self, needs: Sequence[Need], remedy: str = "") -> Generator[Progress, None, tuple[Need, ...]]:
        """Load what is needed and not there yet, telling each; what has no room beside it is freed first.

        Returns what was not there. Raises what the networks raise; OutOfMemory, with the remedy as its hint, when
        memory runs out.
        """
        absent = []
        for need in needs:
            machine = self.machine_for(need)
            present = self._loaded.get(need.role)
            if present and (present.need, present.machine) == (need, machine):
                continue
            absent.append(need)
            yield Progress("loading", note=f"loading {need.place.checkpoint.title}")
            loader = LOADERS[need.role]
            for role in (need.role, *loader.displaces):
                self._free(role)
            notes = tuple(self._notes(need)) if need.role == "song" else ()
            for note in notes:
                log.warning(note)
            try:
                networks = loader.open(need.place, machine)
            except Exception as error:
                raise as_studio_error(error, remedy) or error from error
            self._loaded[need.role] = Loaded(need, machine, networks, notes)
        return tuple(absent)

    def machine_for(self, need: Need) -> Machine:
        """How the weights of a need run: a song's in the format that was asked for, its own, or the processor's."""
        if need.role != "song":
            return self.machine
        own = self.machine.dtype or need.place.checkpoint.dtype
        return dataclasses.replace(self.machine, dtype=own or ("bfloat16" if self._halves() else None))

    def _halves(self) -> bool:
        """Whether songs are rendered on a processor that is several times faster in bfloat16 than in float32."""
        return self.machine.chosen.runtime == "torch" and self.device_kind() == "cpu" and has_bfloat16_units()

    def _notes(self, need: Need) -> Iterator[str]:
        """What is not as it usually is about a song's networks, for the log and for the track."""
        machine = self.machine_for(need)
        if machine.chosen.note:
            yield machine.chosen.note
        if need.place.other_vae:
            yield f"with the VAE in {need.place.other_vae.name}, not the checkpoint's own"
        if machine.bits:
            experiment = ", which is an experiment" if machine.bits == 4 else ""
            yield f"the network's layers are packed to {machine.bits} bits{experiment}"
        if machine.dtype not in (self.machine.dtype, need.place.checkpoint.dtype):
            yield f"in {machine.dtype}, for which this processor has units of its own; --dtype float32 has more digits"

    def _free(self, role: Role) -> None:
        if (present := self._loaded.pop(role, None)) is not None:
            present.networks.close()

    def make_room(self, gb: float) -> tuple[str, ...]:
        """Free a planner that is loaded when the song's device has less memory left; a note when that was done.

        The next plan loads it again.
        """
        if "planner" not in self._loaded or self.song.free_gb() >= gb:
            return ()
        note = f"{self.planner.name} was freed before rendering: the device had less than {gb:.1f} GB of memory left"
        log.info(note)
        self._free("planner")
        return (note,)

    def free(self) -> None:
        """Free all weights."""
        for role in tuple(self._loaded):
            self._free(role)

    @property
    def song(self) -> Runtime:
        """The song's networks. Raises KeyError when none are loaded."""
        return cast("Runtime", self._loaded["song"].networks)

    @property
    def planner(self) -> LmPlanner:
        """The language model that plans. Raises KeyError when none is loaded."""
        return cast("LmPlanner", self._loaded["planner"].networks)

    @property
    def writer(self) -> LanguageModel:
        """The language model that writes lyrics. Raises KeyError when none is loaded."""
        return cast("LanguageModel", self._loaded["writer"].networks)

    @property
    def separator(self) -> Separator:
        """The network that takes a mix apart. Raises KeyError when none is loaded."""
        return cast("Separator", self._loaded["stems"].networks)

    @property
    def roles(self) -> frozenset[Role]:
        """The roles in which something is loaded."""
        return frozenset(self._loaded)

    @property
    def needs(self) -> tuple[Need, ...]:
        """What is loaded, by the need that it serves."""
        return tuple(each.need for each in self._loaded.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it usually is about what is loaded."""
        return tuple(note for each in self._loaded.values() for note in each.notes)

    def peak_gb(self) -> float:
        """The most memory that the last job held; of the whole process when no song's networks tell it."""
        return self.song.peak_gb() if "song" in self._loaded else process_peak_gb()

    def device_kind(self) -> DeviceKind:
        """Where jobs run: as asked, as loaded, or, before the first job, as far as can be told without a framework."""
        if self.machine.device:
            return cast(DeviceKind, self.machine.device.partition(":")[0])
        return self.song.device_kind if "song" in self._loaded else likely_device()

    def drive(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events of a generator that has not begun; where MLX is at work, it runs in MLX's thread from end to end.

        All that it keeps between two events, conditions and sessions, is then made and freed where MLX wants it.
        """
        if not any(each.machine.chosen.runtime == "mlx" for each in self._loaded.values()):
            return events
        from networks import mlx_thread

        def there() -> Generator[Event, None, None]:
            yield from events

        return mlx_thread.iterate(there)


def as_studio_error(error: Exception, remedy: str) -> StudioError | None:
    """The studio's own error for what a framework raised when memory ran out; None for anything else."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory("The device has not enough memory for this.", remedy)
    return error if isinstance(error, StudioError) else None
