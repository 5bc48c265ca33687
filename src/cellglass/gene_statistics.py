"""What is known of every gene before training."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from cellglass.batches import Rows
from cellglass.losses.base import GeneStatistics
from cellglass.matrices import CHUNK

LEAST_COUNTS = 0.1
"""Added to the counts of every gene, so that none has a rate of 0."""


def gene_statistics(rows: Rows, cells: np.ndarray) -> GeneStatistics:
    """Sum up the genes over some cells, in float64.

    Parameters
    ----------
    rows
        Preprocessed values, shape (n_cells, n_genes). Entries that are hidden from the
        training are hidden here, too.
    cells
        Row numbers of the cells.

    Returns
    -------
    GeneStatistics
        Of shape (n_genes,) each.
    """
    n_genes = rows.shape[1]
    # Number of values, their sum and sum of squares; of counts and size factors the sums.
    sums = np.zeros((5, n_genes))
    on_counts = rows.size_factors is not None
    for start in range(0, len(cells), CHUNK):
        batch = rows.batch(jnp.asarray(cells[start : start + CHUNK]))
        seen = np.ones(batch.y.shape) if batch.visible is None else np.asarray(batch.visible)
        y = np.asarray(batch.y, np.float64) * seen
        parts = [seen, y, y * y]
        if on_counts:
            parts += [np.asarray(batch.counts) * seen, np.asarray(batch.depth) * seen]
        for total, part in zip(sums, parts, strict=False):
            total += part.sum(axis=0, dtype=np.float64)
    number = np.maximum(sums[0], 1)
    mean = sums[1] / number
    return GeneStatistics(
        mean=mean,
        variance=np.maximum(sums[2] / number - mean**2, 0),
        rate=(sums[3] + LEAST_COUNTS) / np.maximum(sums[4], 1e-3) if on_counts else None,
    )
