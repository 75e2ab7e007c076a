"""Drawings in SVG: bars, lines, circles and texts, each drawing with a title and a description.

Looks are attributes, never styles or scripts, so that a drawing shows under the strictest
Content-Security-Policy; what it says is also in its description, for those who can't see it.
"""

from html import escape
from typing import Final

INK: Final = "#1a1a1a"
PALE: Final = "#767676"
GRID: Final = "#d9d9d9"
BLUE: Final = "#1f5fa8"
ORANGE: Final = "#b35900"
GREEN: Final = "#2e6b34"
LIGHT: Final = "#9db9d9"


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; `content` is markup, attributes are escaped; `_` in their names is `-`."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{told}>{content}</{name}>" if content else f"<{name}{told}/>"


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


class Drawing:
    """A drawing of a width and height; parts are added from back to front."""

    def __init__(self, name: str, title: str, description: str, width: int, height: int) -> None:
        """`name` is the drawing's own in its page."""
        self._name, self._title, self._description = name, title, description
        self.width, self.height = width, height
        self._parts: list[str] = []

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A filled rectangle; one that would be too thin to see is a hair."""
        self._parts.append(
            element("rect", x=x, y=y, width=max(width, 1.0), height=max(height, 0.0), fill=fill)
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], stroke: str = GRID,
        *, dashed: bool = False, width: float = 1.0,
    ) -> None:  # fmt: skip
        """A straight line."""
        more = {"stroke_dasharray": "4 3"} if dashed else {}
        self._parts.append(
            element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], stroke=stroke,
                    stroke_width=width, **more)
        )  # fmt: skip

    def path(self, points: list[tuple[float, float]], stroke: str) -> None:
        """A line through points."""
        told = " ".join(f"{_short(float(x))},{_short(float(y))}" for x, y in points)
        self._parts.append(
            element("polyline", points=told, fill="none", stroke=stroke, stroke_width=2)
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        """A small disc."""
        self._parts.append(element("circle", cx=x, cy=y, r=5, fill=fill))

    def text(
        self, x: float, y: float, words: str, *, fill: str = INK, anchor: str = "start",
        bold: bool = False, size: int = 13,
    ) -> None:  # fmt: skip
        """A text, its baseline at `y`."""
        more = {"font_weight": "bold"} if bold else {}
        self._parts.append(
            element("text", escape(words), x=x, y=y, fill=fill, text_anchor=anchor,
                    font_size=size, **more)
        )  # fmt: skip

    def across(self, y: float, left: float, right: float, label: str) -> None:
        """A line of a grid, and what it stands for."""
        self.line((left, y), (right, y))
        self.text(left - 6, y + 4, label, anchor="end")

    def mark(self, x: float, top: float, bottom: float, label: str, anchor: str = "middle") -> None:
        """A dashed line downwards with a label above it."""
        self.line((x, top), (x, bottom), INK, dashed=True)
        self.text(x, top - 6, label, anchor=anchor)

    def legend(self, x: float, y: float, step: float, entries: list[tuple[str, str]]) -> None:
        """What colours mean, side by side."""
        for n, (words, fill) in enumerate(entries):
            self.bar(x + step * n, y, 12, 12, fill)
            self.text(x + step * n + 18, y + 11, words)

    def svg(self, *, alone: bool = False) -> str:
        """The drawing as markup; `alone` in a file of its own."""
        title, description = f"{self._name}-title", f"{self._name}-description"
        inside = "\n".join(
            [
                element("title", escape(self._title), id=title),
                element("desc", escape(self._description), id=description),
                element("rect", width=self.width, height=self.height, fill="#ffffff"),
                *self._parts,
            ]
        )
        more = {"xmlns": "http://www.w3.org/2000/svg"} if alone else {}
        return element(
            "svg", f"\n{inside}\n", **more, viewBox=f"0 0 {self.width} {self.height}",
            width=self.width, height=self.height, role="img",
            aria_labelledby=f"{title} {description}", font_family="sans-serif",
        )  # fmt: skip
