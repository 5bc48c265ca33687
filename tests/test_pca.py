"""Principal axes equal those of scikit-learn's full decomposition."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import decomposition

from cellglass import pca as module
from cellglass.matrices import Parts
from cellglass.pca import fit_pca


def matrix(shape=(40, 12), seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape) * np.linspace(3, 1, shape[1]) + 2
    return (X * (rng.random(shape) < 0.7)).astype(np.float32)


def in_parts(X: np.ndarray) -> Parts:
    return Parts(X.shape, lambda part: X[part])


kinds = pytest.mark.parametrize(
    "kind", [np.asarray, sparse.csr_matrix, in_parts], ids=["dense", "csr", "parts"]
)
solvers = pytest.mark.parametrize("limit", [4000, 0], ids=["covariance", "beyond-the-limit"])


@kinds
@solvers
@pytest.mark.parametrize("shape", [(40, 12), (9, 30)], ids=["tall", "wide"])
@pytest.mark.parametrize("n_components", [1, 5, 30])
def test_pca_equals_scikit_learns_full_decomposition(
    shape, n_components, kind, limit, monkeypatch
):
    monkeypatch.setattr(module, "COVARIANCE_LIMIT", limit)
    X = matrix(shape)
    found = fit_pca(kind(X), n_components, random_state=0)
    k = min(n_components, *shape)
    full = decomposition.PCA(k, svd_solver="full").fit(X.astype(np.float64))
    assert found.axes.shape == (k, shape[1])
    np.testing.assert_allclose(found.mean, full.mean_, atol=1e-10)
    np.testing.assert_allclose(found.variance_ratio, full.explained_variance_ratio_, atol=1e-9)
    # The last axis of a matrix with fewer cells than genes has no variance: any will do.
    varied = full.explained_variance_ratio_ > 1e-9
    cosines = np.abs((found.axes * full.components_).sum(axis=1))
    np.testing.assert_allclose(cosines[varied], 1, atol=1e-8)
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(k), atol=1e-6)
    scores = found.transform(kind(X))
    assert type(scores) is np.ndarray and scores.shape == (shape[0], k)
    np.testing.assert_allclose(np.abs(scores), np.abs(full.transform(X)), atol=1e-4)
    expected = full.inverse_transform(full.transform(X))
    np.testing.assert_allclose(found.inverse_transform(scores), expected, atol=1e-4)


@pytest.mark.parametrize("some", [False, True], ids=["all-cells", "some-cells"])
def test_a_sketch_of_reconstructions_in_many_genes_is_as_good_as_exact(some, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.log1p(np.exp(rng.normal(size=(700, 10)) @ rng.normal(size=(10, 300))))
    cells = rng.random(700) < 0.8 if some else np.ones(700, bool)
    exact = fit_pca(X[cells], 20, random_state=0)
    monkeypatch.setattr(module, "COVARIANCE_LIMIT", 299)
    sketch = fit_pca(in_parts(X), 20, random_state=0, cells=cells)
    np.testing.assert_allclose(sketch.variance_ratio, exact.variance_ratio, rtol=1e-2)
    np.testing.assert_allclose(sketch.variance_ratio[:10], exact.variance_ratio[:10], rtol=1e-5)
    np.testing.assert_allclose(
        sketch.transform(in_parts(X))[:, :10], exact.transform(X)[:, :10], rtol=1e-2, atol=1e-2
    )


@kinds
def test_the_reconstruction_error_equals_what_the_other_axes_hold(kind):
    X = matrix()
    found = fit_pca(kind(X), 4, random_state=0)
    error = np.square(X - found.inverse_transform(found.transform(kind(X)))).sum()
    values = np.linalg.svd(X - X.mean(axis=0, dtype=np.float64), compute_uv=False)
    assert error == pytest.approx(np.square(values[4:]).sum(), rel=1e-6)


@solvers
def test_the_same_matrix_gives_the_same_axes_dense_or_sparse(limit, monkeypatch):
    monkeypatch.setattr(module, "COVARIANCE_LIMIT", limit)
    dense, again = (fit_pca(matrix(), 4, random_state=0) for _ in range(2))
    csr = fit_pca(sparse.csr_matrix(matrix()), 4, random_state=0)
    np.testing.assert_array_equal(dense.axes, again.axes)
    np.testing.assert_allclose(dense.axes, csr.axes, atol=1e-8)
    largest = np.abs(dense.axes).argmax(axis=1)
    assert (dense.axes[np.arange(4), largest] > 0).all()


@kinds
@pytest.mark.parametrize("value", [0, 0.1, 3])
@pytest.mark.parametrize("shape", [(3, 1), (5, 4), (50, 20)], ids=str)
def test_a_constant_matrix_gives_no_nan_and_comes_back_as_it_was(value, shape, kind):
    X = np.full(shape, value, np.float32)
    found = fit_pca(kind(X), 2, random_state=0)
    assert np.isfinite(found.axes).all() and np.isfinite(found.variance_ratio).all()
    back = found.inverse_transform(found.transform(kind(X)))
    np.testing.assert_allclose(back, X, atol=1e-6)


@kinds
def test_genes_that_never_vary_weigh_nothing(kind):
    X = matrix()
    X[:, 3], X[:, 8] = 0, 5
    axes = fit_pca(kind(X), 3, random_state=0).axes
    np.testing.assert_allclose(axes[:, [3, 8]], 0, atol=1e-7)


def test_cells_that_were_not_fitted_are_projected_by_the_same_axes():
    X, other = matrix(), matrix(seed=1)
    found, full = fit_pca(X, 3, random_state=0), decomposition.PCA(3, svd_solver="full").fit(X)
    np.testing.assert_allclose(
        np.abs(found.transform(other)), np.abs(full.transform(other)), atol=1e-4
    )
