"""Views: what the rail shows beside the modes, in the place of a form.

A view makes nothing; its songs open in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ui import library, models
from ui.handlers import Handlers
from ui.view import View

VIEWS: Mapping[str, Callable[[Handlers], View]] = {library.NAME: library.build, models.NAME: models.build}
"""How each view is built, unseen at first, inside the open layout; its title stands in tooltips.VIEWS."""
