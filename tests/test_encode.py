"""Encoding in chunks, the same for a cell to the last bit, and in fewer coordinates."""

import jax
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import pdist

from cellglass import encode as module
from cellglass.batches import SparseRows, on_device
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork

MSE = LOSSES["mse"]


def make(n_cells, n_genes, *, n_layers=1, n_hidden=8):
    key = jax.random.key(0)
    network = AutoencoderNetwork(n_genes, 3, n_hidden=n_hidden, n_layers=n_layers, key=key)
    X = np.random.default_rng(0).gamma(1.0, size=(n_cells, n_genes)).astype(np.float32)
    return network, X


def through(layers, X):
    """Layers applied by numpy, in 64 bits."""
    for layer in layers[:-1]:
        X = np.maximum(X @ np.float64(layer.weight) + np.float64(layer.bias), 0)
    return X @ np.float64(layers[-1].weight) + np.float64(layers[-1].bias)


@pytest.mark.parametrize("n_cells", [1, 6, 7, 20], ids=lambda n: f"{n} cells")
def test_chunks_give_what_numpy_gives_on_all_cells(n_cells, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    network, X = make(n_cells, 12)
    rows = on_device(X)
    Z = through(network.encoder, X)
    np.testing.assert_allclose(module.encode(network, rows), Z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        module.reconstruct(network, rows, MSE),
        through(network.decoder, Z),
        rtol=1e-5,
        atol=1e-6,
    )


def test_products_have_all_bits_whatever_the_device_would_do_by_default(monkeypatch):
    network, X = make(5, 12)
    programs = []

    def traced(network, x):
        programs.append(str(jax.make_jaxpr(type(network).encode)(network, x)))
        return network.encode(x)

    monkeypatch.setattr(module, "_encode", traced)
    with jax.default_matmul_precision("tensorfloat32"):
        module.encode(network, X)
    assert programs[0].count("dot_general") == 2
    assert programs[0].count("HIGHEST") == 2 * 2  # of either factor


@pytest.mark.parametrize("n_cells", [1, 7, 20], ids=lambda n: f"{n} cells")
def test_decoding_in_chunks_gives_what_the_network_gives_on_all_cells(n_cells, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    network, X = make(n_cells, 12)
    Z = np.asarray(network.encode(X))
    np.testing.assert_allclose(
        module.decode(network, Z, MSE), network.decode(Z).eta, rtol=1e-5, atol=1e-6
    )


WIDTHS = [
    pytest.param(7, 3, 0, id="7 genes, linear"),
    pytest.param(765, 100, 1, id="765 genes"),
    pytest.param(2000, 37, 2, id="2000 genes, two odd hidden layers"),
]


@pytest.mark.as_shipped
@pytest.mark.parametrize(("n_genes", "n_hidden", "n_layers"), WIDTHS)
def test_a_cell_gives_the_same_bits_whatever_cells_stand_around_it(n_genes, n_hidden, n_layers):
    n_cells = module.CHUNK + 90
    network, X = make(n_cells, n_genes, n_layers=n_layers, n_hidden=n_hidden)
    Z, X_hat = module.encode(network, X), module.reconstruct(network, X, MSE)
    order = np.random.default_rng(1).permutation(n_cells)
    for cells in (order, order[:1], order[:7], order[: module.CHUNK], order[-1:].repeat(600)):
        np.testing.assert_array_equal(module.encode(network, X[cells]), Z[cells])
        np.testing.assert_array_equal(module.reconstruct(network, X[cells], MSE), X_hat[cells])
        np.testing.assert_array_equal(module.decode(network, Z[cells], MSE), X_hat[cells])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e-40], ids=str)
def test_values_of_other_cells_do_not_reach_a_cell(value):
    network, X = make(600, 200)
    Z = module.encode(network, X)
    others = np.arange(600) % 50 != 17
    X[others] = value
    np.testing.assert_array_equal(module.encode(network, X)[~others], Z[~others])


@pytest.mark.as_shipped
@pytest.mark.parametrize("n_cells", [5, module.CHUNK + 5])
def test_dense_and_sparse_rows_and_arrays_give_the_same_bits(n_cells):
    network, X = make(n_cells, 90)
    X[X < 1] = 0
    Z, X_hat = module.encode(network, X), module.reconstruct(network, X, MSE)
    for rows in (on_device(X), SparseRows.from_csr(sparse.csr_matrix(X))):
        np.testing.assert_array_equal(module.encode(network, rows), Z)
        np.testing.assert_array_equal(module.reconstruct(network, rows, MSE), X_hat)


def test_one_program_serves_any_number_of_cells():
    network, X = make(module.CHUNK + 9, 23)
    module.encode(network, X)
    compiled = module._encode._cache_size()
    for n_cells in (1, 2, 100, module.CHUNK):
        module.encode(network, X[:n_cells])
        module.encode(network, on_device(X[:n_cells]))
    assert module._encode._cache_size() == compiled


@pytest.mark.parametrize(
    ("n_genes", "n_layers"),
    [
        pytest.param(30, 1, id="more genes than hidden units"),
        pytest.param(4, 1, id="fewer genes than hidden units"),
        pytest.param(30, 2, id="two hidden layers"),
        pytest.param(30, 0, id="linear"),
    ],
)
def test_coordinates_keep_all_distances_between_reconstructions(n_genes, n_layers):
    network, X = make(25, n_genes, n_layers=n_layers)
    rows = on_device(X)
    coordinates = module.reconstruction_coordinates(network, rows, MSE)
    assert coordinates.shape[1] == min(n_genes, 8 if n_layers else 3)
    distances = pdist(module.reconstruct(network, rows, MSE))
    np.testing.assert_allclose(pdist(coordinates), distances, rtol=1e-4)
