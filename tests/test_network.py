"""The network is the hourglass that it is drawn as."""

from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
import pytest

from cellglass.network import AutoencoderNetwork, Dense


def network(n_layers: int = 1, *, seed: int = 0) -> AutoencoderNetwork:
    return AutoencoderNetwork(7, 2, n_hidden=5, n_layers=n_layers, key=jax.random.key(seed))


def cells(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(20, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("n_layers", "widths"),
    [(0, [7, 2]), (1, [7, 5, 2]), (3, [7, 5, 5, 5, 2])],
    ids=["linear", "one", "three"],
)
def test_the_decoder_is_the_mirror_of_the_encoder(n_layers, widths):
    net = network(n_layers)
    pairs = list(pairwise(widths))
    assert [layer.weight.shape for layer in net.encoder] == pairs
    assert [layer.weight.shape for layer in net.decoder] == [p[::-1] for p in pairs[::-1]]
    assert all(layer.bias.shape == (layer.weight.shape[1],) for layer in net.decoder)


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_the_network_equals_numpy_layer_by_layer(n_layers):
    net = jax.tree.map(lambda w: w + 0.1, network(n_layers))  # biases too
    x = cells()

    def numpy_part(layers, h):
        for i, layer in enumerate(layers):
            h = h @ np.asarray(layer.weight) + np.asarray(layer.bias)
            h = np.maximum(h, 0) if i < len(layers) - 1 else h
        return h

    z = numpy_part(net.encoder, x)
    np.testing.assert_allclose(net.encode(x), z, rtol=1e-4, atol=1e-5)
    x_hat = numpy_part(net.decoder, z)
    np.testing.assert_allclose(net.decode(net.encode(x)), x_hat, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net(x), net.decode(net.encode(x)))


def test_latent_layer_and_output_have_no_activation():
    net, x = network(), cells()
    for values in (net.encode(x), net(x)):
        assert (np.asarray(values) < 0).any() and (np.asarray(values) > 0).any()
    # Twice the last weights: exactly twice the output, at either end.
    for part, apply in (("encoder", net.encode), ("decoder", net)):
        last = getattr(net, part)[-1]
        doubled = eqx.tree_at(lambda n, p=part: getattr(n, p)[-1].weight, net, 2 * last.weight)
        after = doubled.encode(x) if part == "encoder" else doubled(x)
        np.testing.assert_array_equal(after, 2 * np.asarray(apply(x)))


def test_hidden_layers_are_cut_at_zero():
    net = network()
    x = cells()
    assert not np.allclose(net(-x), -np.asarray(net(x)))  # no bias yet: odd if linear


def test_without_hidden_layers_the_network_is_linear():
    net, x, y = network(0), cells(0), cells(1)
    np.testing.assert_allclose(
        net(2 * x - 3 * y), 2 * net(x) - 3 * net(y), rtol=1e-4, atol=1e-4
    )


def test_the_key_decides_the_weights():
    assert eqx.tree_equal(network(seed=1), network(seed=1))
    assert not eqx.tree_equal(network(seed=1), network(seed=2))


def test_weights_start_from_glorots_distribution_and_biases_from_zero():
    layer = Dense(300, 100, key=jax.random.key(0))
    limit = np.sqrt(6 / 400)
    assert np.abs(layer.weight).max() <= limit
    assert np.std(layer.weight) == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not np.asarray(layer.bias).any()


def test_no_two_layers_start_alike():
    square = AutoencoderNetwork(5, 5, n_hidden=5, n_layers=2, key=jax.random.key(0))
    weights = [np.asarray(layer.weight) for layer in square.encoder + square.decoder]
    assert all(not np.array_equal(a, b) for i, a in enumerate(weights) for b in weights[:i])
