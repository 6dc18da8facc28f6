"""A plot of the CPU time per request, as SVG without any library."""

from html import escape

from report import median, ratio

WIDTH, LABEL, BAR, ROW, HEAD, GAP = 760, 110, 470, 22, 34, 16
OWN, OTHER, INK, FAINT = "#c2410c", "#94a3b8", "#1e293b", "#64748b"
TEXT = 'font-family="system-ui, sans-serif" font-size="13"'


def text(x, y, words, fill=INK, more=""):
    """A line of text."""
    return f'<text x="{x}" y="{y}" fill="{fill}" {TEXT} {more}>{escape(words)}</text>'


def panel(result, top):
    """Bars of one workload, the cheapest first; returns shapes and height."""
    rounds = result["rounds"]
    values = {name: median(rows, "cpu_us") for name, rows in rounds.items()}
    values = dict(sorted(((n, v) for n, v in values.items() if v), key=lambda pair: pair[1]))
    longest = max(values.values())
    shapes = [text(0, top + 16, result["title"], more='font-weight="600"')]
    y = top + HEAD
    for name, value in values.items():
        own = name == "redcar"
        width = max(1, value / longest * BAR)
        shapes.append(text(LABEL - 8, y + 14, name, more='text-anchor="end"'))
        shapes.append(
            f'<rect x="{LABEL}" y="{y + 2}" width="{width:.1f}" height="{ROW - 6}"'
            f' rx="2" fill="{OWN if own else OTHER}"/>'
        )
        note = f"{value:,.1f} µs"
        if not own and "redcar" in rounds:
            note += f", redcar {ratio(rounds['redcar'], rounds[name], 'cpu_us'):.2f} × that"
        shapes.append(text(LABEL + width + 8, y + 14, note, FAINT))
        y += ROW
    return shapes, y - top + GAP


def svg(results):
    """The plot of all workloads that have CPU times per request and are no latency runs."""
    shapes, top = [text(0, 16, "CPU time per request, one thread; less is better", FAINT)], 28
    for result in results:
        if result["ratio"] == "cpu_us":
            more, height = panel(result, top)
            shapes += more
            top += height
    box = f"-16 -8 {WIDTH + 32} {top + 16}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img"'
        ' aria-label="CPU time per request of redcar and other proxies">\n'
        f'<rect x="-16" y="-8" width="{WIDTH + 32}" height="{top + 16}" fill="#ffffff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )
