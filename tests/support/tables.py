"""Small tables with every kind of column."""

import numpy as np
import polars as pl


def mixed_table(rows=200, seed=0):
    """Numbers with gaps, categories with rare ones, dates, booleans, and classes that follow from two of them."""
    draw = np.random.default_rng(seed)
    size, city = draw.normal(50, 10, rows), draw.choice(["Oslo", "Rome", "Kyiv"], rows, p=[0.5, 0.3, 0.2])
    is_large = size + 10 * (city == "Rome") > 53
    return pl.DataFrame(
        {
            "size": [None if k % 7 == 0 else float(value) for k, value in enumerate(size)],
            "count": draw.integers(0, 1000, rows),
            "city": city.tolist(),
            "day": [f"2024-{k % 12 + 1:02}-{k % 28 + 1:02}" for k in range(rows)],
            "sunny": (draw.random(rows) < 0.5).tolist(),
            "kind": np.where(is_large, "large", "small").tolist(),
        }
    )


TABLE = mixed_table()
SMALL = {"hidden_dimension": 8, "device": "cpu", "verbose": False, "seed": 3}
