"""Draw curves as one SVG, axes from zero or from the least value, a line and a name for each curve."""

from __future__ import annotations

import html

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 420, 60, 50, 20
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#334155")


def picture(lines: dict[str, list[tuple[float, float]]], x_name: str, y_name: str) -> str:
    points = [point for line in lines.values() for point in line]
    most_x = max(x for x, _ in points) or 1.0
    low, high = (
        min(y for _, y in points),
        sorted(y for _, y in points)[len(points) * 19 // 20],
    )  # a first value may dwarf the rest
    decimals = 0 if most_x >= 5 else 1
    room_x, room_y = WIDTH - LEFT - 20, HEIGHT - BOTTOM - TOP

    def at(x: float, y: float) -> str:
        share = min(1.0, (y - low) / ((high - low) or 1.0))
        return f"{LEFT + x / most_x * room_x:.1f},{TOP + (1 - share) * room_y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    ]
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>')
    for step in range(6):
        x, y = most_x * step / 5, low + (high - low) * step / 5
        (px, _), (_, py) = at(x, low).split(","), at(0, y).split(",")
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{py}" y2="{py}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{py}" text-anchor="end">{y:.2f}</text>')
        parts.append(f'<text x="{px}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:.{decimals}f}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(x_name)}</text>')
    parts.append(f'<text x="{LEFT}" y="14">{html.escape(y_name)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour, y = COLOURS[number % len(COLOURS)], TOP + 16 * number + 10
        parts.append(
            f'<polyline points="{" ".join(at(*point) for point in line)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{WIDTH - 30}" y="{y}" text-anchor="end" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
