"""Everything that can be asked of the studio."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from core.actions import ACTIONS, ActionRequest
from core.drafts import DRAFTS, DraftRequest
from core.params import MODES, ModeRequest, PlanRequest

Request = ModeRequest | PlanRequest | DraftRequest | ActionRequest

REQUESTS: Mapping[str, type[Request]] = MappingProxyType(
    {
        **cast("Mapping[str, type[Request]]", MODES),
        "plan": PlanRequest,
        **cast("Mapping[str, type[Request]]", DRAFTS),
        **cast("Mapping[str, type[Request]]", ACTIONS),
    }
)
"""What can be asked, by the name of its endpoint."""
