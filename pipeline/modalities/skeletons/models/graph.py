"""The graph of a skeleton: how far its joints are apart along bones and links, and the partition of edges."""

import numpy as np

from stillroom.modalities.skeletons.layouts import Layout


def hops(layout: Layout) -> np.ndarray:
    """How many edges lie between two joints: int64 [J, J]; J where no path leads from one to the other."""
    count = len(layout.joints)
    neighbours = np.eye(count, dtype=np.float32)
    for a, b in layout.edges():
        neighbours[a, b] = neighbours[b, a] = 1
    found, reached = np.full((count, count), count, np.int64), np.eye(count, dtype=np.float32)
    for step in range(count):
        found[(reached > 0) & (found > step)] = step
        reached = np.minimum(reached @ neighbours, 1)
    return found


def nearest(layout: Layout) -> np.ndarray:
    """For each joint all joints, the nearest along bones and links first and of equally near ones the first
    by number: int64 [J, J]; the joint itself in place of those that no path leads to.
    """
    apart = hops(layout)
    ordered = np.argsort(apart, axis=1, kind="stable")
    own = np.arange(len(apart))[:, None]
    return np.where(np.take_along_axis(apart, ordered, 1) < len(apart), ordered, own)


def spatial(layout: Layout) -> np.ndarray:
    """Weights of the edges, self-loops included, in the three parts of ST-GCN's spatial partition.

    An edge's part says whether its source is as far from the middle of the body as its target (0), nearer
    (1) or further (2). Over all parts the weights of what comes into a joint sum to 1.

    Returns:
        float32 [3, J, J]: part, source, target.

    Source: Yan, Xiong, Lin, "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action
    Recognition", AAAI 2018, eq. 8 and section 3.3. The middle is one joint there; of several here the
    nearest counts.
    """
    apart = hops(layout)
    adjacent = apart <= 1
    weights = adjacent / adjacent.sum(axis=0, keepdims=True)
    from_middle = apart[list(layout.centre)].min(axis=0)
    source, target = from_middle[:, None], from_middle[None]
    parts = (source == target, source < target, source > target)
    return np.stack([weights * part for part in parts]).astype(np.float32)
