"""SVG charts of two kinds, bars and lines, that are read at phone width, in light and dark, and by screen readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "lines"]

_WIDTH = 420  # on a phone this is about the width of the screen, so that 13 stays a size to read
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: var(--ink) } .title { font-weight: 600; font-size: 14px }
.small { font-size: 11.5px; fill: var(--dim) } .paper { fill: var(--paper) } .grid { stroke: var(--grid) }
.line { fill: none; stroke-width: 2 }
svg { --paper: #fff; --ink: #1b1f24; --dim: #57606a; --grid: #d8dee4 }
.c0 { --c: #0a6e3f } .c1 { --c: #b3400e } .c2 { --c: #1f5fbf } .c3 { --c: #8a3ab9 } .c4 { --c: #7a6a00 }
.c5 { --c: #b0246a } .c6 { --c: #4d5661 } .c7 { --c: #00707f } .line { stroke: var(--c) } .fill { fill: var(--c) }
@media (prefers-color-scheme: dark) {
svg { --paper: #14181d; --ink: #e6edf3; --dim: #a4adb8; --grid: #343c46 }
.c0 { --c: #56d391 } .c1 { --c: #ff9a62 } .c2 { --c: #79b8ff } .c3 { --c: #d2a8ff } .c4 { --c: #e3d04f }
.c5 { --c: #ff85b8 } .c6 { --c: #b4bdc8 } .c7 { --c: #4fd3e0 } }
"""
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 5", "1 4", "12 3", "3 3")


def _svg(title: str, description: str, height: float, parts: Sequence[str], foot: str) -> str:
    height += 16
    size = f'viewBox="0 0 {_WIDTH} {height:.0f}" width="640"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">',
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(f"{description} {foot}.")}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height:.0f}" rx="6"/>',
            _text(12, 24, title, "title"),
            *parts,
            _text(12, height - 12, foot, "small"),
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def bars(
    title: str, unit: str, groups: Mapping[str, Sequence[tuple[str, float]]], ours: str, foot: str
) -> str:
    """A bar for each entry of each group; those whose name begins with `ours` have a colour of their own.

    A value below zero is what noise leaves of a small one; it has no bar.
    """
    longest = max(value for entries in groups.values() for _, value in entries)
    parts, said, y = [_text(12, 42, unit, "small")], [], 50.0
    for group, entries in groups.items():
        y += 24
        parts.append(_text(12, y, group, "title"))
        for name, value in entries:
            width = max(1.0, value / longest * (_WIDTH - 80))
            kind = "c0" if name.startswith(ours) else "c6"
            y += 18
            parts.append(_text(12, y, name, "small"))
            y += 13
            parts.append(
                f'<rect class="fill {kind}" x="12" y="{y - 8:.1f}" width="{width:.1f}" height="8" rx="2"/>'
            )
            parts.append(_text(18 + width, y, f"{value:.0f}" if value > 0 else "lost in the noise"))
        said.append(f"{group}: " + ", ".join(f"{name} {value:.0f}" for name, value in entries))
    return _svg(title, f"{unit}. {'; '.join(said)}.", y + 16, parts, foot)


def lines(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    foot: str,
    *,
    log: bool,
) -> str:
    """A line for each series over a logarithmic axis; upwards the scale is logarithmic too, or begins at 0."""
    across = sorted({x for points in series.values() for x, _ in points})
    up = [y for points in series.values() for _, y in points]
    low, high = (10 ** math.floor(math.log10(min(up))) if log else 0.0, max(up))
    ticks = _ticks(low, high, log=log)
    high = max(high, ticks[-1])
    left, right, top, bottom = 56.0, _WIDTH - 24.0, 64.0, 264.0

    def at_x(x: float) -> float:
        span = math.log(across[-1] / across[0]) or 1.0
        return left + math.log(x / across[0]) / span * (right - left)

    def at_y(y: float) -> float:
        share = math.log(y / low) / math.log(high / low) if log else y / high
        return bottom - share * (bottom - top)

    parts = [_text(12, 44, axes[1], "small")]
    for y in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}"/>')
        parts.append(_text(left - 6, at_y(y) + 4, _short(y), "small", "end"))
    parts += [_text(at_x(x), bottom + 18, _short(x), "small", "middle") for x in across]
    parts.append(_text((left + right) / 2, bottom + 36, axes[0], "small", "middle"))
    said, y = [], bottom + 44
    for turn, (name, points) in enumerate(series.items()):
        kind, dash, y = f"c{turn % 8}", _DASHES[turn % 8], y + 19
        path = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="line {kind}" stroke-dasharray="{dash}" points="{path}"/>')
        parts += [
            f'<circle class="fill {kind}" cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="3"/>' for a, b in points
        ]
        parts.append(
            f'<line class="line {kind}" stroke-dasharray="{dash}" x1="12" x2="44" y1="{y - 4}" y2="{y - 4}"/>'
        )
        parts.append(_text(52, y, name))
        said.append(f"{name}: " + ", ".join(f"{_short(b)} at {_short(a)}" for a, b in points))
    return _svg(title, f"{axes[1]}, over {axes[0]}. {'; '.join(said)}.", y + 14, parts, foot)


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    if log:
        return [10.0**power for power in range(round(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    step = 10 ** math.floor(math.log10(high))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if high / (step * part) <= 5)
    return [step * turn for turn in range(math.ceil(high / step) + 1)]


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"
