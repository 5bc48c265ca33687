"""Marker genes against plain means and another implementation of the test."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import mannwhitneyu

from cellglass.markers import find_markers


def test_markers_of_one_cluster_are_none():
    assert find_markers(np.ones((4, 2)), np.zeros(4, int), ["a", "b"]).empty


@pytest.fixture(scope="module")
def cells():
    """Three clusters; genes 0 to 2 are higher in one each, and 3 is lower in the first."""
    rng = np.random.default_rng(0)
    clusters = np.repeat([0, 1, 2], [60, 40, 30])
    rates = np.ones((3, 8))
    rates[[0, 1, 2], [0, 1, 2]] = 4.0
    rates[0, 3] = 0.1
    return np.log1p(rng.poisson(rates[clusters])).astype(np.float32), clusters


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_every_column_is_what_it_says(cells, kind):
    X, clusters = cells
    names = [f"g{i}" for i in range(X.shape[1])]
    found = find_markers(kind(X), clusters, names)
    assert set(found["cluster"]) == {0, 1, 2}
    for row in found.itertuples():
        values, inside = X[:, names.index(row.gene)], clusters == row.cluster
        assert row.fraction_in == pytest.approx((values[inside] > 0).mean())
        assert row.fraction_out == pytest.approx((values[~inside] > 0).mean())
        # As scanpy does: of the means of the logarithms, brought back.
        fold = np.expm1(values[inside].mean()) / np.expm1(values[~inside].mean())
        assert row.log2_fold_change == pytest.approx(np.log2(fold), abs=1e-4)
        # The rank sum's distance from its mean, in standard deviations without ties.
        n, m = inside.sum(), (~inside).sum()
        u = mannwhitneyu(values[inside], values[~inside]).statistic
        z = (u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)
        assert row.score == pytest.approx(z, abs=1e-3)


def test_genes_lower_in_a_cluster_are_no_markers_of_it(cells):
    X, clusters = cells
    found = find_markers(X, clusters, list("abcdefgh"))
    assert list(found.groupby("cluster")["gene"].first()) == ["a", "b", "c"]
    assert (found["score"] > 0).all()
    assert "d" not in set(found.loc[found["cluster"] == 0, "gene"])
    dim = np.where(clusters[:, None] == 0, 0, X)  # a cluster of whatever is left
    assert 0 not in set(find_markers(dim, clusters, list("abcdefgh"))["cluster"])
