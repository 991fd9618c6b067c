"""The look of the page: a monochrome palette and the Gradio theme made of it.

Colours and faces are named here and nowhere else: the style sheets take them from the variables that Gradio derives
from the theme. The light twin gives these variables other values, and nothing else is different in it. Every face ships
with Gradio or the system, so that the page loads nothing from the network.
"""

from __future__ import annotations

import gradio as gr

MONO = gr.themes.Color(
    name="mono",
    c50="#ffffff",
    c100="#e5e5e5",
    c200="#cfcfcf",
    c300="#b4b4b4",
    c400="#9a9a9a",  # the quietest text: 5.6:1 on c800, 7:1 on c950
    c500="#6b6b6b",
    c600="#3a3a3a",
    c700="#2a2a2a",
    c800="#1a1a1a",
    c900="#141414",
    c950="#0a0a0a",
)
"""From primary white to the ground; c500 and darker are for lines and fills, never for text."""

TWIN = gr.themes.Color(
    name="twin",
    c50="#000000",
    c100="#1a1a1a",
    c200="#333333",
    c300="#474747",
    c400="#525252",  # 6.2:1 on c800, 7.2:1 on c950
    c500="#8a8a8a",
    c600="#b8b8b8",
    c700="#d0d0d0",
    c800="#e5e5e5",
    c900="#eeeeee",
    c950="#f5f5f5",
)
"""The same steps from primary black to a light ground: what they are for does not change."""

BLACK = "var(--black)"
"""The deepest ground, behind fields and in the rail: the style sheet's variable, white in the twin."""

LOOK = "look"
"""The attribute data-look of the page says which of the two it shows: look.js sets it before anything is painted."""


_GROUND = {
    "body_background_fill": "*neutral_950",
    "background_fill_primary": "*neutral_950",
    "background_fill_secondary": "*neutral_900",
    "block_background_fill": "transparent",
    "panel_background_fill": "*neutral_900",
    "input_background_fill": BLACK,
    "code_background_fill": BLACK,
    "table_even_background_fill": "transparent",
    "table_odd_background_fill": "transparent",
    "table_row_focus": "*neutral_800",
    "border_color_primary": "*neutral_700",
    "border_color_accent": "*neutral_50",
    "input_border_color": "*neutral_700",
    "input_border_color_focus": "*neutral_50",
}
_INK = {
    "body_text_color": "*neutral_100",
    "body_text_color_subdued": "*neutral_400",
    "block_label_text_color": "*neutral_400",
    "block_title_text_color": "*neutral_100",
    "block_info_text_color": "*neutral_400",
    "input_placeholder_color": "*neutral_400",
    "accordion_text_color": "*neutral_100",
    "color_accent_soft": "*neutral_800",
    "link_text_color": "*neutral_50",
    "slider_color": "*neutral_50",
    "loader_color": "*neutral_50",
    "error_background_fill": "*neutral_900",
    "error_border_color": "*neutral_50",
    "error_text_color": "*neutral_50",
    "error_icon_color": "*neutral_50",
}
_BUTTONS = {
    "button_primary_background_fill": "*neutral_50",
    "button_primary_background_fill_hover": "*neutral_200",
    "button_primary_border_color": "*neutral_50",
    "button_primary_text_color": BLACK,
    "button_secondary_background_fill": "transparent",
    "button_secondary_background_fill_hover": "*neutral_800",
    "button_secondary_border_color": "*neutral_700",
    "button_secondary_border_color_hover": "*neutral_400",
    "button_secondary_text_color": "*neutral_100",
}
_CHECKS = {
    "checkbox_background_color": BLACK,
    "checkbox_background_color_selected": "*neutral_50",
    "checkbox_border_color": "*neutral_400",
    "checkbox_border_color_selected": "*neutral_50",
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": "*neutral_800",
    "checkbox_label_background_fill_selected": "*neutral_50",
    "checkbox_label_border_color": "*neutral_700",
    "checkbox_label_text_color": "*neutral_100",
    "checkbox_label_text_color_selected": BLACK,
}
_SHAPE = {
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_padding": "0px",
    "block_label_background_fill": "transparent",
    "block_label_border_width": "0px",
    "block_label_shadow": "none",
    "block_title_background_fill": "transparent",
    "block_title_border_width": "0px",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "button_border_width": "1px",
    "checkbox_label_shadow": "none",
    "checkbox_shadow": "none",
    "panel_border_width": "1px",
    "shadow_drop": "none",
    "shadow_drop_lg": "none",
    "shadow_spread": "0px",
}


def studio_theme() -> gr.themes.Base:
    """The theme: the same variables whether Gradio takes the page for light or dark."""
    theme = gr.themes.Base(
        primary_hue=MONO,
        secondary_hue=MONO,
        neutral_hue=MONO,
        radius_size=gr.themes.Size("2px", "4px", "4px", "4px", "4px", "4px", "4px", name="radius_square"),
        # Gradio ships the weights between these two as subsets that lack letters.
        font=[gr.themes.LocalFont("IBM Plex Sans", (400, 700)), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", (400, 700)), "ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    values = _GROUND | _INK | _BUTTONS | _CHECKS | _SHAPE
    dark = {f"{name}_dark": value for name, value in values.items() if hasattr(theme, f"{name}_dark")}
    theme.set(**values, **dark)
    return theme


def twin_css() -> str:
    """The variables of the light twin: those of the palette, and what the style sheets ask of it by name.

    `--bg` and `--col` are what Gradio's page has before its own style sheets are there.
    """
    steps = {
        f"--{hue}-{name[1:]}": value for hue in ("primary", "secondary", "neutral") for name, value in _steps(TWIN)
    }
    own = {"--black": "#ffffff", "--scheme": "light", "--mirror": "invert(1)"}
    first = {"--bg": TWIN.c950, "--bg-dark": TWIN.c950, "--col": TWIN.c100, "--col-dark": TWIN.c100}
    values = "; ".join(f"{name}: {value}" for name, value in {**steps, **own, **first}.items())
    return f'html[data-{LOOK}="light"] {{ {values} }}'


def _steps(colour: gr.themes.Color) -> list[tuple[str, str]]:
    return [(name, value) for name, value in vars(colour).items() if name.startswith("c") and name[1:].isdigit()]
