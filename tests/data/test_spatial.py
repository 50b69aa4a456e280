"""Blocks are as large as is asked, the same for the same places, and no side of a split shares one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes import spatial_blocks, split_train_val
from ignite_recipes.data.split import split_fold

degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
places = st.lists(degrees, min_size=1, max_size=30)


def distance_km(a, b):
    (lat1, lon1), (lat2, lon2) = np.radians(a), np.radians(b)
    s = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371 * np.arcsin(np.sqrt(np.clip(s, 0, 1)))


@settings(max_examples=100, deadline=None)
@given(places, st.floats(5, 500))
def test_places_of_one_block_are_at_most_its_diagonal_apart(points, block_km):
    blocks = spatial_blocks(*zip(*points, strict=True), block_km)
    assert blocks[0] == 0
    assert set(blocks) == set(range(blocks.max() + 1))
    for i, a in enumerate(points):
        for j, b in enumerate(points[:i]):
            if blocks[i] == blocks[j] and max(abs(a[0]), abs(b[0])) < 80:  # near a pole a band is a cap
                assert distance_km(a, b) < 1.6 * block_km  # the diagonal, 1.42, and what rounding columns adds


@settings(max_examples=50, deadline=None)
@given(places, st.floats(5, 500), st.integers(-1, 1))
def test_a_turn_around_the_earth_changes_nothing(points, block_km, turns):
    lat, lon = np.array(points).T
    lon = np.round(lon, 3)  # a multiple of the smallest step, so that adding 360 loses nothing that counts
    moved = lon + 360 * turns
    kept = (np.abs(moved) <= 360) & (np.abs(lon) > 0.01)
    if kept.any():
        a, b = spatial_blocks(lat[kept], lon[kept], block_km), spatial_blocks(lat[kept], moved[kept], block_km)
        assert (a != b).mean() <= 0.2  # a place on an edge may fall to either side


def test_blocks_have_nearly_the_same_area_at_every_latitude():
    rng = np.random.default_rng(0)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-0.95, 0.95, 200_000))), rng.uniform(-180, 180, 200_000)
    counts = np.bincount(spatial_blocks(lat, lon, 1500))
    edge = np.quantile(counts, [0.1, 0.9])
    assert edge[1] / edge[0] < 1.6  # points are uniform on the sphere, so counts are areas


BAD = {
    "two lengths": (([1.0, 2.0], [1.0]), {}, "must be \\(N,\\) each"),
    "a missing place": (([1.0, float("nan")], [1.0, 1.0]), {}, "1 of 2 places"),
    "beyond the pole": (([91.0], [1.0]), {}, "1 of 1 places"),
    "no size": (([1.0], [1.0]), {"block_km": 0}, "block_km must be a positive number"),
    "an infinite size": (([1.0], [1.0]), {"block_km": float("inf")}, "block_km"),
    "words": ((["north"], [1.0]), {}, "latitude must be numbers"),
    "a table": (([[1.0]], [[1.0]]), {}, "latitude must be \\(N,\\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_place_is_refused(case):
    given_places, settings_, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        spatial_blocks(*given_places, **settings_)


def test_a_split_by_groups_tears_no_group_apart_and_so_do_folds():
    rows, groups = torch.arange(60.0)[:, None], np.arange(60) % 7
    train, val = split_train_val(rows, val_size=0.3, groups=groups)
    assert not set(groups[train.indices]) & set(groups[val.indices])
    seen = []
    for fold in (1, 2, 3):
        train, val = split_fold(rows, None, fold, 3, 0, groups)
        assert not set(groups[train.indices]) & set(groups[val.indices])
        seen += val.indices.tolist()
    assert sorted(seen) == list(range(60))
    with pytest.raises(ValueError, match="groups must be one for each of the 60 rows"):
        split_train_val(rows, groups=groups[:-1])
