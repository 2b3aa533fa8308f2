"""The picture of the rooms: boxes in layers, each above all that it imports, so that every arrow goes down.

A layered drawing after Sugiyama, Tagawa and Toda 1981: each room stands one layer above the highest room that it
imports; an arrow over several layers gets a place of its own in each of them, so that it crosses no box; within a
layer the order follows the neighbours' mean position.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

Graph = Mapping[str, frozenset[str]]

BOX_WIDTH, BOX_HEIGHT = 136, 44
LANE_WIDTH = 26
"""What an arrow takes that passes a layer."""
GAP, LAYER_HEIGHT, MARGIN = 22, 112, 30
SWEEPS = 40
LEGEND = "An arrow points to what a room imports; arrows that follow from others are left out."


class Node(NamedTuple):
    """A room in its layer, or (with `to`) the place of an arrow that passes a layer.

    Attributes:
        name: The room; of an arrow, where it begins.
        layer: From 0 at the bottom.
        to: Where the arrow leads.
    """

    name: str
    layer: int
    to: str = ""

    @property
    def width(self) -> int:
        """What it takes in its layer."""
        return LANE_WIDTH if self.to else BOX_WIDTH


def reduced(graph: Graph) -> dict[str, frozenset[str]]:
    """The graph without what follows: where a imports b and c, and b imports c, the arrow from a to c is left out."""
    below: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            below[name] = set(graph[name]).union(*(reach(other) for other in graph[name]))
        return below[name]

    return {name: frozenset(o for o in low if not any(o in reach(p) for p in low if p != o))
            for name, low in graph.items()}  # fmt: skip


def layers_of(graph: Graph) -> dict[str, int]:
    """The layer of each room: 0 imports nothing, others stand one above the highest that they import."""
    found: dict[str, int] = {}

    def layer(name: str) -> int:
        if name not in found:
            found[name] = 1 + max(map(layer, graph[name]), default=-1)
        return found[name]

    for name in graph:
        layer(name)
    return found


def paths(graph: Graph, layer: Mapping[str, int]) -> list[list[Node]]:
    """Every arrow as the places that it passes, from its room to the one below."""
    found = []
    for name in sorted(graph):
        for low in sorted(graph[name]):
            passed = [Node(name, k, low) for k in range(layer[name] - 1, layer[low], -1)]
            found.append([Node(name, layer[name]), *passed, Node(low, layer[low])])
    return found


def arranged(graph: Graph) -> tuple[dict[Node, float], list[list[Node]]]:
    """Each node's middle, and the arrows through them."""
    layer = layers_of(graph)
    arrows = paths(graph, layer)
    rows: list[list[Node]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in sorted({Node(name, layer[name]) for name in graph}.union(*arrows)):
        rows[node.layer].append(node)
    near: dict[Node, list[Node]] = {node: [] for row in rows for node in row}
    for arrow in arrows:
        for above, below in pairwise(arrow):
            near[above].append(below)
            near[below].append(above)
    place: dict[Node, float] = {}
    for row in rows:
        _put(row, place)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            side = -1 if sweep % 2 else 1
            wanted = {}
            for node in row:
                neighbours = [place[other] for other in near[node] if other.layer - node.layer == side]
                wanted[node] = _mean(neighbours, place[node])
            row.sort(key=lambda node: (wanted[node], node))
            _put(row, place, wanted)
    left = min(place[node] - node.width / 2 for node in place)
    return {node: x - left + MARGIN for node, x in place.items()}, arrows


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _put(row: list[Node], place: dict[Node, float], wanted: Mapping[Node, float] | None = None) -> None:
    """Gives the nodes of a row, in their order, places that don't overlap, as near as may be to the wanted ones.

    Each run of nodes that would overlap is one block, whose middle is where its nodes want it on average.
    """
    blocks: list[tuple[list[Node], float, float]] = []  # nodes, left end, width
    for node in row:
        nodes, width = [node], float(node.width)
        left = (wanted[node] if wanted else 0.0) - width / 2
        while blocks and blocks[-1][1] + blocks[-1][2] + GAP > left:
            before, _, its = blocks.pop()
            nodes, width = [*before, *nodes], its + GAP + width
            left = _mean(_lefts(nodes, wanted), 0.0)
        blocks.append((nodes, left, width))
    for nodes, left, _ in blocks:
        x = left
        for node in nodes:
            place[node] = x + node.width / 2
            x += node.width + GAP


def _lefts(nodes: list[Node], wanted: Mapping[Node, float] | None) -> list[float]:
    """Where the block would begin for each node to be where it wants."""
    found, x = [], 0.0
    for node in nodes:
        found.append((wanted[node] if wanted else 0.0) - x - node.width / 2)
        x += node.width + GAP
    return found


def _ports(ends: list[tuple[Node, Node]], place: Mapping[Node, float]) -> list[float]:
    """Where on the edge of its box each arrow begins (or ends): side by side, in the order of where they come from."""
    found = [0.0] * len(ends)
    for box in {box for box, _ in ends}:
        mine = sorted((place[other], number) for number, (one, other) in enumerate(ends) if one == box)
        for rank, (_, number) in enumerate(mine, 1):
            found[number] = place[box] - BOX_WIDTH / 2 + BOX_WIDTH * rank / (len(mine) + 1)
    return found


def svg(graph: Graph, notes: Mapping[str, str]) -> str:
    """The picture as SVG text: the same for the same graph.

    Args:
        graph: What each room imports; without circles.
        notes: A second line for each box.
    """
    place, arrows = arranged(reduced(graph))
    top = max(node.layer for node in place)
    width = max(place[node] + node.width / 2 for node in place) + MARGIN
    height = 2 * MARGIN + 20 + BOX_HEIGHT + top * LAYER_HEIGHT

    def y(layer: int) -> float:
        return MARGIN + BOX_HEIGHT / 2 + (top - layer) * LAYER_HEIGHT

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" text-anchor="middle">',
        "<title>The rooms of CycleQD: an arrow points to what a room imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#5a6b7b"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
    ]
    begins = _ports([(arrow[0], arrow[1]) for arrow in arrows], place)
    ends = _ports([(arrow[-1], arrow[-2]) for arrow in arrows], place)
    for arrow, begin, end in zip(arrows, begins, ends, strict=True):
        xs = [begin, *(place[node] for node in arrow[1:-1]), end]
        ys = [y(node.layer) for node in arrow]
        half = BOX_HEIGHT / 2
        path = [f"M{xs[0]:.1f},{ys[0] + half:.1f}"]
        for (x1, x2), (y1, y2) in zip(pairwise(xs), pairwise(ys), strict=True):
            middle = (y1 + y2) / 2
            path.append(f"C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2 - half:.1f}")
            path.append(f"L{x2:.1f},{y2 + half:.1f}")
        parts.append(f'<path d="{" ".join(path[:-1])}" fill="none" stroke="#5a6b7b" stroke-width="1.2" '
                     'marker-end="url(#tip)"/>')  # fmt: skip
    for node, x in sorted(place.items()):
        if not node.to:
            left, upper = x - BOX_WIDTH / 2, y(node.layer) - BOX_HEIGHT / 2
            parts += [
                f'<rect x="{left:.1f}" y="{upper:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
                'fill="#e8f0f7" stroke="#2f5d8a"/>',
                f'<text x="{x:.1f}" y="{upper + 19:.1f}" font-size="14" fill="#12293f">{node.name}</text>',
                f'<text x="{x:.1f}" y="{upper + 35:.1f}" font-size="10" fill="#5a6b7b">{notes.get(node.name, "")}'
                "</text>",
            ]
    parts.append(f'<text x="{width / 2:.1f}" y="{height - 10:.1f}" font-size="11" fill="#5a6b7b">{LEGEND}</text>')
    return "\n".join([*parts, "</svg>", ""])
