"""The kinds of job: one row for each class of request. A later engine or action is one class and one row."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from core.actions import ACTIONS
from core.drafts import EnhanceRequest, InspireRequest, UnderstandRequest
from core.lyrics import LyricsRequest
from core.params import SONG_MODES, PlanRequest
from core.requests import Request
from jobs.actions import Actions
from jobs.desk import Kind
from jobs.drafts import Drafts
from jobs.plans import Plans
from jobs.songs import Songs
from jobs.words import Words

KINDS: Mapping[type[Request], Kind[Request]] = MappingProxyType(
    cast(
        "dict[type[Request], Kind[Request]]",
        {
            **dict.fromkeys(SONG_MODES.values(), Songs()),
            LyricsRequest: Words(),
            PlanRequest: Plans(),
            **dict.fromkeys((InspireRequest, EnhanceRequest, UnderstandRequest), Drafts()),
            **dict.fromkeys(ACTIONS.values(), Actions()),
        },
    )
)
