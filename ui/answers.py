"""Answers that the studio gives in Gradio's stead: a status, and one sentence of why."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ui.cancel_calls import Send

FAILED = "The studio failed; its log says why."
"""What is said of a fault that is nobody's but the studio's."""


async def refuse(send: Send, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer a request with that status, and why in the form in which Gradio tells it."""
    body = json.dumps({"error": why, "detail": why}).encode()
    told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
