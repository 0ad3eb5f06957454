"""Plain SVG: text, lines, dots and bands on a card that brings its own background, for light and for dark pages.

Colours are classes, and the reader's own preference picks them; nothing is loaded from elsewhere. Numbers are written
with one decimal, so that the same figures yield the same bytes.
"""

from collections.abc import Iterable
from html import escape

_STYLE = """
svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif }
.card { fill: #ffffff; stroke: #d1d9e0 } .text { fill: #1f2328 } .faint { fill: #59636e } .strong { font-weight: 600 }
.grid { stroke: #d8dee4 } .axis { stroke: #818b98 } .goal { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 6 4 }
.goal-text { fill: #bc4c00 } .ours { fill: #0969da } .theirs { fill: #818b98 } .missed { fill: #bc4c00 }
.band { fill: #0969da; fill-opacity: .14 } .median { stroke: #0969da; stroke-width: 2 }
.line-0 { stroke: #0969da; stroke-width: 2; fill: none } .dot-0 { fill: #0969da }
.line-1 { stroke: #818b98; stroke-width: 2; fill: none; stroke-dasharray: 5 4 } .dot-1 { fill: #818b98 }
.line-2 { stroke: #8250df; stroke-width: 2; fill: none } .dot-2 { fill: #8250df }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .faint { fill: #9198a1 }
.grid { stroke: #2a313c } .axis { stroke: #656c76 } .goal { stroke: #f0883e } .goal-text { fill: #f0883e }
.ours { fill: #4493f8 } .theirs { fill: #656c76 } .missed { fill: #f0883e }
.band { fill: #4493f8; fill-opacity: .2 } .median { stroke: #4493f8 }
.line-0 { stroke: #4493f8 } .dot-0 { fill: #4493f8 } .line-1 { stroke: #9198a1 } .dot-1 { fill: #9198a1 }
.line-2 { stroke: #ab7df8 } .dot-2 { fill: #ab7df8 }
}
"""
COLOUR_COUNT = 3
"""How many series have a colour of their own."""


class Drawing:
    """An image under way. Places are in pixels from the upper left corner."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self._size = width, height
        self._title, self._description = title, description
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, said: str, kind: str = "text", *, anchor: str = "start", turned: bool = False
    ) -> None:
        """Words whose baseline is at `y`."""
        turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
        self._add(f'<text x="{_n(x)}" y="{_n(y)}" class="{kind}" text-anchor="{anchor}"{turn}>{escape(said)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._add(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{kind}"/>')

    def path(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A line through these points."""
        self._add(f'<polyline points="{" ".join(f"{_n(x)},{_n(y)}" for x, y in points)}" class="{kind}"/>')

    def dot(self, x: float, y: float, kind: str, radius: float = 4) -> None:
        """A filled circle."""
        self._add(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A filled rectangle."""
        self._add(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" class="{kind}"/>')

    def __str__(self) -> str:
        width, height = map(_n, self._size)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="title description">'
        )
        inner = f'width="{_n(self._size[0] - 1)}" height="{_n(self._size[1] - 1)}"'
        card = f'<rect x="0.5" y="0.5" {inner} rx="8" class="card"/>'
        return "\n".join(
            [
                head,
                f'<title id="title">{escape(self._title)}</title>',
                f'<desc id="description">{escape(self._description)}</desc>',
                f"<style>{_STYLE}</style>",
                card,
                *self._parts,
                "</svg>\n",
            ]
        )

    def _add(self, part: str) -> None:
        self._parts.append(part)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
