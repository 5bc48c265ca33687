"""Maps are finite whatever the space, the same for the same seed, and true to it."""

import numpy as np
import pytest
from scipy import sparse

from cellglass.project import Maps, project


def cells(n: int, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


SPACES = {
    "three-cells": cells(3),
    "three-cells-one-gene": cells(3, 1),
    "one-gene": cells(30, 1),
    "constant": np.full((30, 4), 0.1, np.float32),
    "constant-many-cells": np.full((601, 33), 0.1, np.float32),
    "all-zero": np.zeros((30, 4), np.float32),
    "duplicates": np.repeat(cells(2), 15, axis=0),
    "all-alike-but-one": np.r_[np.ones((29, 4)), np.zeros((1, 4))],
}


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("X", SPACES.values(), ids=SPACES)
def test_maps_are_finite_and_centred(X, kind):
    maps = project(kind(X), random_state=0)
    for layout in (maps.pca, maps.tsne):
        assert layout.shape == (len(X), 2)
        assert np.isfinite(layout).all()
        span = np.abs(layout).max() + 1e-6
        assert np.abs(layout.mean(axis=0)).max() <= 1e-5 * span
    assert maps.pca_variance_ratio.shape == (2,)
    assert (maps.pca_variance_ratio >= 0).all() and maps.pca_variance_ratio.sum() < 1 + 1e-9


def test_a_space_of_one_dimension_has_an_empty_second_axis():
    maps = project(SPACES["three-cells-one-gene"], random_state=0)
    assert not maps.pca[:, 1].any()
    np.testing.assert_allclose(maps.pca_variance_ratio, [1, 0])


def maps(seed: int) -> Maps:
    rng = np.random.default_rng(seed)
    pca = rng.normal(size=(30, 2)) * [5, 1]
    layout = rng.normal(size=(30, 2)) * [1, 8]
    return Maps(pca - pca.mean(axis=0), np.array([0.7, 0.2]), layout - layout.mean(axis=0))


def test_turning_a_map_changes_no_distance_and_no_order_of_axes():
    one, other = maps(0), maps(1)
    turned = one.aligned_to(other)

    def distances(layout):
        return np.linalg.norm(layout[:, None] - layout[None], axis=2)

    np.testing.assert_allclose(distances(turned.tsne), distances(one.tsne), atol=1e-10)
    np.testing.assert_array_equal(np.abs(turned.pca), np.abs(one.pca))
    np.testing.assert_array_equal(turned.pca_variance_ratio, one.pca_variance_ratio)
    assert ((turned.pca * other.pca).sum(axis=0) >= 0).all()


def test_a_map_that_was_only_turned_is_turned_back():
    one, angle = maps(0), 1.0
    mirror = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    turned = Maps(one.pca * [-1, 1], one.pca_variance_ratio, one.tsne @ mirror)
    back = turned.aligned_to(one)
    np.testing.assert_allclose(back.tsne, one.tsne, atol=1e-10)
    np.testing.assert_array_equal(back.pca, one.pca)


def test_maps_without_extent_can_be_turned():
    flat = Maps(np.zeros((30, 2)), np.zeros(2), np.zeros((30, 2)))
    assert np.isfinite(flat.aligned_to(maps(0)).tsne).all()
    assert np.isfinite(maps(0).aligned_to(flat).tsne).all()
