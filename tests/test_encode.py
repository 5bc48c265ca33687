"""Encoding in chunks, and reconstructions in fewer coordinates."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from cellglass import encode as module
from cellglass.batches import on_device
from cellglass.network import AutoencoderNetwork


def make(n_cells, n_genes, *, n_layers=1, n_hidden=8):
    key = jax.random.key(0)
    network = AutoencoderNetwork(n_genes, 3, n_hidden=n_hidden, n_layers=n_layers, key=key)
    X = np.random.default_rng(0).gamma(1.0, size=(n_cells, n_genes)).astype(np.float32)
    return network, X


@pytest.mark.parametrize("n_cells", [1, 6, 7, 20], ids=lambda n: f"{n} cells")
def test_chunks_give_what_the_network_gives_on_all_cells(n_cells, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    network, X = make(n_cells, 12)
    rows = on_device(X)
    np.testing.assert_allclose(
        module.encode(network, rows), network.encode(X), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        module.reconstruct(network, rows), network(X), rtol=1e-5, atol=1e-6
    )


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
    coordinates = module.reconstruction_coordinates(network, rows)
    assert coordinates.shape[1] == min(n_genes, 8 if n_layers else 3)
    distances = pdist(module.reconstruct(network, rows))
    np.testing.assert_allclose(pdist(coordinates), distances, rtol=1e-4)
