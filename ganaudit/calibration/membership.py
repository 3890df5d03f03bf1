"""Membership in a convex hull: by its facets in few dimensions, by a linear program in many.

NumPy alone; SciPy's hulls and linear programs are imported where one is needed.
"""

import numpy as np
from numpy.typing import NDArray

from ganaudit.calibration.cells import products

_FEW_DIMENSIONS = 3  # in which a hull has no more than 2 facets a point
_SLACK = 1e-9  # of the size of a hull, by which its facets lie outward
_TOLERANCE = 1e-6  # of the size of a hull; a float32 coordinate has 6e-8
_STEPS = 64
_ROWS = 64  # at once: a hull in 6 dimensions may have 65,536 facets
_BLOCK = 1024

_Array = NDArray[np.float64]


def in_hull(rows: _Array, points: _Array) -> NDArray[np.bool_]:
    """Which rows lie in the convex hull of points, its surface included: [N, d], [h, d] to [N].

    A row is inside if weights >= 0 of sum 1 exist with which the points average to it, to a
    millionth of the largest coordinate; a row's answer does not depend on the others.
    """
    if points.shape[1] <= _FEW_DIMENSIONS and (facets := facets_of(points)) is not None:
        return within(rows, facets)
    centre = points.mean(axis=0)
    points, rows = points - centre, rows - centre
    found = np.zeros(len(rows), dtype=np.bool_)
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        for index in np.flatnonzero(~separated(block, points)):
            found[first + index] = averages_to(points, block[index])
    return found


def within(points: _Array, facets: _Array) -> NDArray[np.bool_]:
    """Which points no facet leaves out: [N, k] and [f, k + 1] to [N].

    x is inside where facets[:, :k] . x + facets[:, k] <= 0.
    """
    found = np.empty(len(points), dtype=np.bool_)
    for first in range(0, len(points), _ROWS):
        heights = products(points[first : first + _ROWS], facets[:, :-1]) + facets[:, -1]
        found[first : first + _ROWS] = (heights <= 0).all(axis=1)
    return found


def facets_of(points: _Array) -> _Array | None:
    """The hull of points [h, k] as `within` takes it; None: they have no volume.

    Each facet lies outward by a billionth of the hull's size, so that the points are inside.
    """
    from scipy.spatial import ConvexHull, QhullError

    slack = _SLACK * float(np.abs(points).max(initial=0))
    if points.shape[1] == 1:
        low, high = float(points.min()), float(points.max())
        return np.array([[-1.0, low - slack], [1.0, -high - slack]]) if low < high else None
    try:
        facets = np.unique(ConvexHull(points).equations, axis=0)  # a square has two triangles
    except (QhullError, ValueError):
        return None
    facets[:, -1] -= slack
    return np.asarray(facets)


def separated(rows: _Array, points: _Array) -> NDArray[np.bool_]:
    """Rows that some plane divides from all points: a true one is proven, a false one is open.

    Walks towards each row within the hull (Frank and Wolfe, 1956): x the point reached, d = row -
    x. If even the furthest of the points along d falls short of the row by more than the tolerance
    of `averages_to`, that would not find the row inside either.

    Args:
      rows: [N, d].
      points: [h, d], of mean 0.
    """
    square = points @ points.T  # [h, h]
    along = products(rows, points)  # [N, h]
    length = (rows * rows).sum(axis=1)
    wide = _TOLERANCE * points.shape[1] ** 0.5 * float(np.abs(points).max())
    found = np.zeros(len(rows), dtype=np.bool_)
    left = np.arange(len(rows))
    here = np.zeros_like(along)  # x . points; x starts at their mean, the origin
    size, toward = np.zeros(len(rows)), np.zeros(len(rows))  # x . x and x . row
    rounding = _SLACK * (length + square.diagonal().max())
    for _ in range(_STEPS):
        furthest = (along[left] - here).argmax(axis=1)
        each = np.arange(len(left))
        ahead = along[left, furthest] - here[each, furthest]  # the most of d . points
        gap = length[left] - toward - ahead
        apart = np.sqrt(np.maximum(length[left] - 2 * toward + size, 0))  # |d|
        proven = gap > wide * apart + rounding[left]
        found[left[proven]] = True
        stay = ~proven
        left, here, furthest = left[stay], here[stay], furthest[stay]
        size, toward, ahead = size[stay], toward[stay], ahead[stay]
        if not len(left):
            break
        own = here[np.arange(len(left)), furthest]
        stretch = np.maximum(square[furthest, furthest] - 2 * own + size, 1e-300)
        step = np.clip((ahead - toward + size) / stretch, 0, 1)
        rest = 1 - step
        size = rest**2 * size + 2 * step * rest * own + step**2 * square[furthest, furthest]
        toward = rest * toward + step * along[left, furthest]
        here = rest[:, None] * here + step[:, None] * square[furthest]
    return found


def averages_to(points: _Array, row: _Array) -> bool:
    """Whether weights >= 0 of sum 1 exist with weights @ points = row: [h, d] and [d].

    The linear program of Algorithm 2, by HiGHS: least t with |weights @ points - row| <= t in
    every coordinate. The row is inside if t is no more than a millionth of the largest coordinate;
    with an equation in place of t, the last bit of a row would decide.
    """
    from scipy.optimize import linprog

    scale = max(float(np.abs(points).max()), 1e-30)
    sides, target = points.T / scale, row / scale
    slack = np.full((len(row), 1), -1.0)
    found = linprog(
        np.append(np.zeros(len(points)), 1.0),
        A_ub=np.block([[sides, slack], [-sides, slack]]),
        b_ub=np.concatenate([target, -target]),
        A_eq=np.append(np.ones(len(points)), 0.0)[None],
        b_eq=[1.0],
        method="highs",
    )
    return bool(found.status == 0 and found.fun <= _TOLERANCE)
