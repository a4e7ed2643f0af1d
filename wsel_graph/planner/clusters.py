"""Clusters of alike elements: agglomerative, by the smallest growth of the sum of squared distances.

References: Ward, "Hierarchical grouping to optimize an objective function", JASA 58 (1963), the criterion; Murtagh,
"A survey of recent advances in hierarchical clustering algorithms", The Computer Journal 26 (1983), nearest-neighbour
chains, which find all merges in quadratic time.
"""

from __future__ import annotations

import math

import torch


def clusters(features: torch.Tensor, count: int) -> tuple[tuple[int, ...], ...]:
    """Gather elements into clusters; the same input gives the same clusters.

    Args:
        features: `(elements, features)`, finite. Memory is elements squared, 8 bytes each.
        count: How many clusters, at least 1 and at most as many as elements. None is empty.
    Returns:
        Zero-based elements of every cluster: its representative (the element nearest to the average, of equals the
        first), then the others ascending. Clusters are in ascending order of their representatives.

    >>> clusters(torch.tensor([[0.0], [5.0], [0.1], [5.2], [0.2]]), 2)
    ((1, 3), (2, 0, 4))
    """
    values = features.detach().to(device="cpu", dtype=torch.float64)
    merges = sorted(_merges(_distances(values)), key=lambda merge: merge[0])  # stable: of equals the first found
    leader = list(range(len(values)))

    def find(element: int) -> int:
        while leader[element] != element:
            leader[element] = leader[leader[element]]
            element = leader[element]
        return element

    for _, one, other in merges[: len(values) - count]:
        first, second = sorted((find(one), find(other)))
        leader[second] = first
    found: dict[int, list[int]] = {}
    for element in range(len(values)):
        found.setdefault(find(element), []).append(element)
    return tuple(sorted(_led(values, own) for own in found.values()))


def _led(values: torch.Tensor, own: list[int]) -> tuple[int, ...]:
    """The elements of a cluster, its representative first."""
    rows = values[own]
    first = own[int((rows - rows.mean(0)).square().sum(1).argmin())] if len(own) > 2 else own[0]
    return (first, *(element for element in own if element != first))


def _distances(values: torch.Tensor) -> torch.Tensor:
    """Squared distances of all pairs, infinite on the diagonal."""
    squares = values.square().sum(1)
    found = (squares[:, None] + squares[None, :] - 2 * values @ values.T).clamp_(min=0)
    found = torch.minimum(found, found.T)  # the same from both sides, to the bit
    return found.fill_diagonal_(math.inf)


def _merges(distances: torch.Tensor) -> list[tuple[float, int, int]]:
    """All merges until one cluster is left: how far apart, and an element of each of the two.

    Follows chains of nearest neighbours until two clusters are each other's nearest. `distances` is overwritten.
    """
    size = len(distances)
    counts = torch.ones(size, dtype=torch.float64, device="cpu")
    alive = torch.ones(size, dtype=torch.bool, device="cpu")
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(merges) < size - 1:
        if not chain:
            chain.append(int(alive.int().argmax()))
        last = chain[-1]
        row = distances[last]
        nearest = int(row.argmin())
        if len(chain) > 1 and row[chain[-2]] <= row[nearest]:
            nearest = chain[-2]  # of equals the one it came from, so that chains end
        if len(chain) < 2 or nearest != chain[-2]:
            chain.append(nearest)
            continue
        merges.append((float(row[nearest]), nearest, last))
        _join(distances, counts, alive, *sorted((last, nearest)))
        del chain[-2:]
    return merges


def _join(distances: torch.Tensor, counts: torch.Tensor, alive: torch.Tensor, kept: int, gone: int) -> None:
    """Let one cluster take in another: Ward's distances to all others follow from those of the two."""
    between, sizes = distances[kept, gone].clone(), counts + counts[kept] + counts[gone]
    joined = (counts + counts[kept]) * distances[kept] + (counts + counts[gone]) * distances[gone] - counts * between
    joined = (joined / sizes).clamp_(min=0)
    alive[gone] = False
    joined[~alive] = math.inf
    joined[kept] = math.inf
    distances[kept], distances[:, kept] = joined, joined
    distances[gone], distances[:, gone] = math.inf, math.inf
    counts[kept] += counts[gone]
