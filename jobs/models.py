"""What is loaded: a song's networks, a planner, a lyric writer, each at most once; no framework until then."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from core.errors import OutOfMemory, StudioError
from core.events import Progress
from core.files import reason
from core.steps import telling
from jobs import estimates
from jobs.engines import engine_of
from jobs.work import Need, Role
from networks import memory
from networks.machine import (
    ON_ZERO_GPU,
    Bits,
    DeviceKind,
    Machine,
    Offload,
    has_bfloat16_units,
    likely_device,
    process_peak_gb,
)
from networks.memory import Weights

if TYPE_CHECKING:
    from checkpoints.find import Installed
    from networks.acestep.runtime import Runtime
    from networks.demucs.separator import Separator
    from networks.lm.model import LanguageModel
    from planner.lm.planner import LmPlanner

WRITER_BITS: Bits = 4
"""To so many bits the weights of a lyric writer are packed where the framework can (MLX): words bear it."""

OFFLOADED: Mapping[Offload, str] = MappingProxyType(
    {
        "parts": "the networks wait in the host's memory and take turns on the device",
        "layers": "the networks wait in the host's memory, and the DiT's layers pass through the device one by one",
    }
)
"""What is told of a song whose weights are not all on the device."""

PULSE_S = 0.1
"""How often loading is told again; a cancel waits no longer than that, or for one tensor."""

Event = TypeVar("Event")
log = logging.getLogger(__name__)


class Closable(Protocol):
    """Networks that can be freed."""

    def close(self) -> None:
        """Free the weights."""
        ...


@dataclass(frozen=True)
class Loaded:
    """Networks in memory, what they were built from and on what, and what is not as usual about them.

    `held_gb` are their weights that lie on the device all the time, `coming_gb` those that come when they are used.
    """

    need: Need
    machine: Machine
    networks: Closable
    notes: tuple[str, ...] = ()
    held_gb: float = 0.0
    coming_gb: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How weights are opened in a role, what they take, and which other roles are never there beside them."""

    open: Callable[[Installed, Machine, Offload], Generator[None, None, Closable]]
    weigh: Callable[[Installed, Machine], Weights]
    displaces: tuple[Role, ...]


def _open_song(place: Installed, machine: Machine, offload: Offload) -> Generator[None, None, Runtime]:
    return engine_of(place).opening(place, machine, offload)


def _weigh_song(place: Installed, machine: Machine) -> Weights:
    return engine_of(place).weigh(place, machine)


def _open_planner(place: Installed, machine: Machine, _: Offload) -> Generator[None, None, LmPlanner]:
    from planner.lm.planner import LmPlanner

    return LmPlanner((yield from _open_language_model(place, machine, None)), place.checkpoint.name)


def _open_writer(place: Installed, machine: Machine, _: Offload) -> Generator[None, None, LanguageModel]:
    return _open_language_model(place, machine, WRITER_BITS)


def _weigh_language_model(place: Installed, machine: Machine) -> Weights:
    return memory.weights_of_language_model(place.folder, machine)


def _open_language_model(place: Installed, machine: Machine, bits: Bits | None) -> Generator[None, None, LanguageModel]:
    from networks.lm.model import opening

    return opening(place.folder, runtime=machine.runtime, device=machine.device, dtype=machine.dtype, bits=bits)


def _open_separator(place: Installed, machine: Machine, _: Offload) -> Generator[None, None, Separator]:
    from networks.demucs.open import opening

    return opening(place.folder, machine.device, digests=place.checkpoint.digests)


def _weigh_separator(place: Installed, _: Machine) -> Weights:
    return Weights(parts={"separator": 4.0 * place.checkpoint.parameters})


LOADERS: Mapping[Role, Loader] = MappingProxyType(
    {
        "song": Loader(open=_open_song, weigh=_weigh_song, displaces=("writer",)),
        "planner": Loader(open=_open_planner, weigh=_weigh_language_model, displaces=("writer",)),
        # A writer is there alone: it is as large as a song's checkpoint, and both are quickly loaded again.
        "writer": Loader(open=_open_writer, weigh=_weigh_language_model, displaces=("song", "planner")),
        "stems": Loader(open=_open_separator, weigh=_weigh_separator, displaces=("writer",)),
    }
)


class Models:
    """The networks of one device, each in its role. Several of these live in one process without knowing each other.

    `number` names it within the process and within those that are forked from it. `units` says whether the processor
    multiplies bfloat16 by itself; None asks that of this machine.
    """

    _numbers: ClassVar = itertools.count()
    _open: ClassVar[weakref.WeakValueDictionary[int, Models]] = weakref.WeakValueDictionary()

    def __init__(self, machine: Machine, *, units: bool | None = None) -> None:
        self.machine = machine
        self._units = units
        self.number = next(self._numbers)
        self._loaded: dict[Role, Loaded] = {}
        self._happened: list[str] = []
        self._working_gb = 0.0
        self._open[self.number] = self
        self.loading_s = 0.0
        """Seconds that loading took, all in all."""

    @classmethod
    def numbered(cls, number: int) -> Models:
        """The models of that number; in a forked process its copy of them."""
        return cls._open[number]

    def load(self, needs: Sequence[Need], remedy: str = "", working_gb: float = 0.0) -> Iterator[Progress]:
        """Load what work needs and is not there yet, telling each, in the order in which the work uses it.

        What has no room beside what comes before it is left for `bring`, which the work asks when it is its turn.
        `working_gb` is what a song's networks will work in. Raises what the networks raise; OutOfMemory, with the
        remedy as its hint, when memory runs out.
        """
        self._happened, self._working_gb = [], working_gb
        try:
            for index, need in enumerate(needs):
                if index > 0 and not self._is_there(need) and not self._fits(need):
                    return
                yield from self.bring(need)
        except Exception as error:
            raise as_studio_error(error, remedy) or error from error

    def bring(self, need: Need) -> Iterator[Progress]:
        """Load what is needed now, unless it is there; what has no room beside it is freed first.

        Raises what the networks raise.
        """
        if self._is_there(need):
            return
        told = Progress("loading", note=f"loading {need.place.checkpoint.title}")
        yield told
        loader, machine = LOADERS[need.role], self.machine_for(need)
        for role in (need.role, *loader.displaces):
            self._free(role)
        self._make_way(need)
        started = time.monotonic()
        weights = loader.weigh(need.place, machine)
        offload, why = self._offload(need, weights)
        notes = (*self._notes(need), *why) if need.role == "song" else ()
        for note in notes:
            log.warning(note)
        networks = yield from telling(told, loader.open(need.place, machine, offload), PULSE_S)
        held, coming = (weights.whole, 0.0) if offload == "none" else (0.0, weights.at_once(offload))
        self._loaded[need.role] = Loaded(need, machine, networks, notes, held, coming)
        self.loading_s += time.monotonic() - started
        if ON_ZERO_GPU:
            self._happened.append(f"{need.place.checkpoint.title} was loaded within the lease of the GPU")

    def _is_there(self, need: Need) -> bool:
        present = self._loaded.get(need.role)
        return present is not None and (present.need, present.machine) == (need, self.machine_for(need))

    def _fits(self, need: Need) -> bool:
        """Whether weights have room beside what is loaded, as a whole and with what they work in."""
        weights = LOADERS[need.role].weigh(need.place, self.machine_for(need))
        return weights.whole + self._room_to_work(need) <= self.free_gb()

    def _room_to_work(self, need: Need) -> float:
        return self._working_gb if need.role == "song" else estimates.PLANNING_GB

    def _make_way(self, need: Need) -> None:
        """Free what is loaded where what is needed now does not fit beside it."""
        self._rest()
        for role in tuple(self._loaded):
            present = self._loaded[role]
            if present.held_gb and not self._fits(need):
                titles = (each.place.checkpoint.title for each in (present.need, need))
                self._tell("{} was freed before {} was loaded: the device has no room for both".format(*titles))
                self._free(role)

    def _rest(self) -> None:
        """Take from the device what offloaded networks left there."""
        if "song" in self._loaded:
            self.song.rest()

    def _offload(self, need: Need, weights: Weights) -> tuple[Offload, tuple[str, ...]]:
        """What of a song's weights waits in the host's memory, as asked or as the device's asks; a note where some do.

        Where the device has no memory of its own, that would make no room.
        """
        if need.role != "song" or not engine_of(need.place).offloads:
            return "none", ()
        if (asked := self.machine.offload) is not None:
            return asked, () if asked == "none" else (f"{OFFLOADED[asked]}, as was asked for",)
        if self.machine_for(need).chosen.runtime != "torch" or not memory.has_its_own(memory.kind_of(self.machine)):
            return "none", ()
        free, working = self.free_gb(), self._room_to_work(need)
        offload = weights.offload(free - working)
        if offload == "none":
            return offload, ()
        return offload, (f"{OFFLOADED[offload]}: of {weights.whole + working:.1f} GB the device had {free:.1f} free",)

    def free_gb(self) -> float:
        """The memory in GB that the device has left, of which no more is used than the studio was given.

        A card that is leased has room for all there is, and before the lease there is none to ask.
        """
        if ON_ZERO_GPU:
            return float("inf")
        free = memory.free_gb(self.machine)
        if self.machine.memory_gb is None:
            return free
        return min(free, self.machine.memory_gb - sum(each.held_gb for each in self._loaded.values()))

    def machine_for(self, need: Need) -> Machine:
        """How the weights of a need run: a song's in the format that was asked for, its own, or the processor's."""
        if need.role != "song":
            return self.machine
        row, machine = need.place.checkpoint, self.machine
        if row.runtime is not None and machine.chosen.runtime != row.runtime:
            machine = dataclasses.replace(machine, runtime=row.runtime, bits=None)
        own = machine.dtype or row.dtype
        return dataclasses.replace(machine, dtype=own or ("bfloat16" if self._halves(machine) else None))

    def _halves(self, machine: Machine) -> bool:
        """Whether songs are rendered on a processor that is several times faster in bfloat16 than in float32."""
        return machine.chosen.runtime == "torch" and self.device_kind() == "cpu" and self.units()

    def units(self) -> bool:
        """Whether the processor multiplies bfloat16 by itself."""
        return has_bfloat16_units() if self._units is None else self._units

    def _notes(self, need: Need) -> Iterator[str]:
        """What is not as it usually is about a song's networks, for the log and for the track."""
        machine = self.machine_for(need)
        if machine.chosen.note:
            yield machine.chosen.note
        if self.machine.runtime not in (None, machine.runtime) or self.machine.bits != machine.bits:
            yield f"on {machine.chosen.runtime}, whole, which alone can run {need.place.checkpoint.title}"
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

    def make_room(self, working_gb: float) -> None:
        """Free a planner, which the next plan loads again, where a song has less memory than it works in."""
        planner, song = self._loaded.get("planner"), self._loaded["song"]
        if planner is None:
            return
        self._rest()
        needed = working_gb + song.coming_gb
        if self.free_gb() < needed:
            title = planner.need.place.checkpoint.title
            self._tell(f"{title} was freed before rendering: the device had less than {needed:.1f} GB of memory left")
            self._free("planner")

    def _tell(self, happened: str) -> None:
        log.info(happened)
        self._happened.append(happened)

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
        """What is not as it usually is about what is loaded, and what else happened since work began to load."""
        return (*(note for each in self._loaded.values() for note in each.notes), *self._happened)

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
    """The studio's own error for what a framework raised when memory ran out, and for what a disk refused.

    None for anything else.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory("The device has not enough memory for this.", remedy)
    if isinstance(error, OSError):  # whose own words name places on the disk
        return StudioError(f"The machine refused something: {reason(error)}.", "The log says more.")
    return error if isinstance(error, StudioError) else None
