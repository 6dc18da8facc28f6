"""Draws what a terminal shows, as tmux prints it with colours, as an SVG."""

import re
from html import escape

CELL, LINE, MARGIN = 8.4, 19, 14
BACKGROUND, TEXT, DIM, RED = "#15181d", "#dfe3ea", "#8a93a3", "#ff6b6b"
STYLES = {"0": {}, "1": {"bold": True}, "2": {"dim": True}, "7": {"reverse": True}}


def runs(line, style):
    """[(text, style)] of a line that begins in a style; the style at its end is the next's."""
    found = []
    for escape_codes, text in re.findall(r"(?:\x1b\[([\d;]*)m)|([^\x1b]+)", line):
        if text:
            found.append((text, style))
        elif escape_codes == "38;5;9":
            style = style | {"red": True}
        elif escape_codes == "39":
            style = {k: v for k, v in style.items() if k != "red"}
        elif escape_codes != "49":
            style = style | STYLES[escape_codes] if escape_codes != "0" else {}
    return found, style


def draw(screen, columns):
    lines = screen.rstrip("\n").split("\n")
    width, height = columns * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-size="14" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace">',
        "<title>proxy top: rate, errors and duration by path</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    style = {}
    for row, line in enumerate(lines):
        found, style = runs(line, style)
        column, y = 0, MARGIN + row * LINE
        for text, look in found:
            x, wide = MARGIN + column * CELL, len(text) * CELL
            colour = RED if look.get("red") else DIM if look.get("dim") else TEXT
            if look.get("reverse"):
                out.append(
                    f'<rect x="{x:g}" y="{y}" width="{wide:g}" height="{LINE}" fill="{colour}"/>'
                )
                colour = BACKGROUND
            weight = ' font-weight="bold"' if look.get("bold") else ""
            out.append(
                f'<text x="{x:g}" y="{y + 14}" xml:space="preserve" textLength="{wide:g}" '
                f'fill="{colour}"{weight}>{escape(text)}</text>'
            )
            column += len(text)
    return "\n".join([*out, "</svg>\n"])
