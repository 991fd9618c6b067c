"""The look of the page: a monochrome palette and the Gradio theme made of it.

Colours and faces are named here and nowhere else: the style sheets take them from the variables that Gradio derives
from the theme. Every face ships with Gradio or the system, so that the page loads nothing from the network.
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

_GROUND = {
    "body_background_fill": MONO.c950,
    "background_fill_primary": MONO.c950,
    "background_fill_secondary": MONO.c900,
    "block_background_fill": "transparent",
    "panel_background_fill": MONO.c900,
    "input_background_fill": "#000000",
    "code_background_fill": "#000000",
    "table_even_background_fill": "transparent",
    "table_odd_background_fill": "transparent",
    "table_row_focus": MONO.c800,
    "border_color_primary": MONO.c700,
    "border_color_accent": MONO.c50,
    "input_border_color": MONO.c700,
    "input_border_color_focus": MONO.c50,
}
_INK = {
    "body_text_color": MONO.c100,
    "body_text_color_subdued": MONO.c400,
    "block_label_text_color": MONO.c400,
    "block_title_text_color": MONO.c100,
    "block_info_text_color": MONO.c400,
    "input_placeholder_color": MONO.c400,
    "accordion_text_color": MONO.c100,
    "color_accent_soft": MONO.c800,
    "link_text_color": MONO.c50,
    "slider_color": MONO.c50,
    "loader_color": MONO.c50,
    "error_background_fill": MONO.c900,
    "error_border_color": MONO.c50,
    "error_text_color": MONO.c50,
    "error_icon_color": MONO.c50,
}
_BUTTONS = {
    "button_primary_background_fill": MONO.c50,
    "button_primary_background_fill_hover": MONO.c200,
    "button_primary_border_color": MONO.c50,
    "button_primary_text_color": "#000000",
    "button_secondary_background_fill": "transparent",
    "button_secondary_background_fill_hover": MONO.c800,
    "button_secondary_border_color": MONO.c700,
    "button_secondary_border_color_hover": MONO.c400,
    "button_secondary_text_color": MONO.c100,
}
_CHECKS = {
    "checkbox_background_color": "#000000",
    "checkbox_background_color_selected": MONO.c50,
    "checkbox_border_color": MONO.c400,
    "checkbox_border_color_selected": MONO.c50,
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": MONO.c800,
    "checkbox_label_background_fill_selected": MONO.c50,
    "checkbox_label_border_color": MONO.c700,
    "checkbox_label_text_color": MONO.c100,
    "checkbox_label_text_color_selected": "#000000",
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
    """The theme: the same black whether the system prefers light or dark."""
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
