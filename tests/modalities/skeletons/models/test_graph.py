"""Distances along bones and links, and the partition of edges, against slow versions."""

from itertools import product

import numpy as np
import pytest

from stillroom.modalities.skeletons.layouts import LAYOUTS, Layout, read
from stillroom.modalities.skeletons.models.graph import hops, nearest, spatial


def apart(layout: Layout) -> np.ndarray:
    """Floyd and Warshall's."""
    count = len(layout.joints)
    found = np.full((count, count), count)
    np.fill_diagonal(found, 0)
    for a, b in layout.edges():
        found[a, b] = found[b, a] = 1
    for k, i, j in product(range(count), repeat=3):
        found[i, j] = min(found[i, j], found[i, k] + found[k, j])
    return np.minimum(found, count)


PARTED = read({"joints": ["a", "b", "c", "d"], "bones": [["b", "a"], ["d", "c"]], "centre": "a"})


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), PARTED], ids=lambda layout: layout.name)
def test_hops_are_shortest_paths_and_the_nearest_come_first(layout: Layout) -> None:
    expected = apart(layout)
    assert np.array_equal(hops(layout), expected)
    for joint, row in enumerate(nearest(layout)):
        count = len(layout.joints)
        reached = sorted(
            (one for one in range(count) if expected[joint, one] < count),
            key=lambda one: (expected[joint, one], one),
        )
        assert row.tolist() == reached + [joint] * (count - len(reached))


@pytest.mark.parametrize("layout", [*LAYOUTS.values(), PARTED], ids=lambda layout: layout.name)
def test_the_partition_has_each_edge_once_and_sums_to_one_at_each_joint(layout: Layout) -> None:
    parts, far = spatial(layout), apart(layout)
    middle = [min(far[joint, one] for one in layout.centre) for joint in range(len(layout.joints))]
    assert np.allclose(parts.sum(axis=(0, 1)), 1)
    for source, target in product(range(len(layout.joints)), repeat=2):
        held = [part for part in range(3) if parts[part, source, target]]
        if far[source, target] > 1:
            assert held == []
        else:
            difference = middle[source] - middle[target]
            assert held == [0 if difference == 0 else 1 if difference < 0 else 2]
