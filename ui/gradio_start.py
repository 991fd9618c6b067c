"""Gradio, imported in about half its usual time."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from contextlib import contextmanager


def import_gradio() -> None:
    """Nothing; Gradio is imported, and has not refreshed the type stubs beside its components.

    At every import it parses the source of each component to write a `.pyi` file, which takes as long as the rest of
    the import. It passes over a class that comes from no file (`create_or_modify_pyi` in gradio.component_meta), and
    while it is imported here, its components seem to come from none.
    """
    with _components_without_source():
        import gradio  # noqa: F401


@contextmanager
def without_collecting() -> Iterator[None]:
    """Nothing that is made inside is searched for garbage: what a start makes is kept, and the search takes a tenth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def without_server() -> Iterator[None]:
    """A page that is built inside has no server yet: `launch` makes it one.

    Gradio makes a page another server each time it is begun, finished, or given a queue; every one of them describes
    the page anew and is thrown away.
    """
    from gradio.blocks import App

    create = App.create_app
    App.create_app = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        App.create_app = staticmethod(create)


@contextmanager
def _components_without_source() -> Iterator[None]:
    getfile = inspect.getfile

    def without(target: type) -> str:
        if type(target).__name__ == "ComponentMeta":
            raise OSError("a component whose source is not asked for")
        return getfile(target)

    inspect.getfile = without  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = getfile
