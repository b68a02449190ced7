"""Recall curves as SVG, drawn by hand: one line per encoder, k on the x axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 14, 38
COLOURS = ("#2f6fde", "#d9772b", "#2f9e62", "#a64fc4", "#c23b55", "#7a8699", "#0e9aa7", "#b09020")


def colour(number: int) -> str:
    """Of the n-th encoder, in every chart and table."""
    return COLOURS[number % len(COLOURS)]


def curves(lines: Mapping[str, Sequence[float]], *, title: str) -> str:
    """A chart of recall (0..1) against k = 1, 2, …; the lines in the order of their colours."""
    depth = max(len(values) for values in lines.values())
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *(_horizontal(share / 100) for share in range(0, 101, 20)),
        *(_tick(k, depth) for k in _ticks(depth)),
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">k</text>',
        *(_line(values, depth, colour(number), name) for number, (name, values) in enumerate(lines.items())),
        "</svg>",
    ]
    return "\n".join(parts)


def legend(names: Sequence[str]) -> str:
    """Which colour is which encoder."""
    entries = (
        f'<span><i style="background:{colour(number)}"></i>{escape(name)}</span>' for number, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(entries)}</p>'


def _x(k: int, depth: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (k - 1) / max(depth - 1, 1)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _ticks(depth: int) -> list[int]:
    return [k for k in (1, 5, 10, 20, 30, 40, 50, 100) if k <= depth]


def _horizontal(share: float) -> str:
    y = _y(share)
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.1f}</text>'
    )


def _tick(k: int, depth: int) -> str:
    return f'<text class="axis" x="{_x(k, depth):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{k}</text>'


def _line(values: Sequence[float], depth: int, stroke: str, name: str) -> str:
    points = " ".join(f"{_x(k, depth):.1f},{_y(value):.1f}" for k, value in enumerate(values, start=1))
    dot = f'<circle cx="{_x(1, depth):.1f}" cy="{_y(values[0]):.1f}" r="3" fill="{stroke}"/>'
    return f'<polyline points="{points}" fill="none" stroke="{stroke}"><title>{escape(name)}</title></polyline>{dot}'
