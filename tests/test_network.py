"""The network is the hourglass that it is drawn as."""

from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy import stats

from cellglass.network import AutoencoderNetwork, Dense, Noise


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
    np.testing.assert_allclose(net.decode(net.encode(x)).eta, x_hat, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net(x).eta, net.decode(net.encode(x)).eta)


def test_latent_layer_and_output_have_no_activation():
    net, x = network(), cells()
    for values in (net.encode(x), net(x).eta):
        assert (np.asarray(values) < 0).any() and (np.asarray(values) > 0).any()
    # Twice the last weights: exactly twice the output, at either end.
    for part, apply in (("encoder", net.encode), ("decoder", lambda x: net(x).eta)):
        last = getattr(net, part)[-1]
        doubled = eqx.tree_at(lambda n, p=part: getattr(n, p)[-1].weight, net, 2 * last.weight)
        after = doubled.encode(x) if part == "encoder" else doubled(x).eta
        np.testing.assert_array_equal(after, 2 * np.asarray(apply(x)))


def test_hidden_layers_are_cut_at_zero():
    net = network()
    x = cells()
    assert not np.allclose(net(-x).eta, -np.asarray(net(x).eta))  # no bias yet: odd if linear


def test_without_hidden_layers_the_network_is_linear():
    net, x, y = network(0), cells(0), cells(1)
    np.testing.assert_allclose(
        net(2 * x - 3 * y).eta, 2 * net(x).eta - 3 * net(y).eta, rtol=1e-4, atol=1e-4
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


# --- what only some trainings have ---------------------------------------------------


def wide(**kwargs) -> AutoencoderNetwork:
    return AutoencoderNetwork(7, 2, n_hidden=5, n_layers=1, key=jax.random.key(0), **kwargs)


def test_heads_parameters_and_a_variance_leave_the_other_weights_as_they_are():
    plain, rich = wide(), wide(heads=("a", "b"), gene_parameters=("c",), variational=True)
    for one, other in zip(
        (*plain.encoder, *plain.decoder), (*rich.encoder, *rich.decoder), strict=True
    ):
        np.testing.assert_array_equal(one.weight, other.weight)
    assert not np.array_equal(rich.heads["a"].weight, rich.heads["b"].weight)
    assert not np.array_equal(rich.heads["a"].weight, rich.decoder[-1].weight)
    assert rich.log_variance.weight.shape == (5, 2)


def test_heads_are_layers_on_the_last_hidden_one():
    net, x = wide(heads=("a",), gene_parameters=("c",)), cells()
    h = np.asarray(net.last_hidden(net.encode(x)))
    output = net(x)
    np.testing.assert_allclose(
        output.heads["a"], h @ np.asarray(net.heads["a"].weight), rtol=1e-4, atol=1e-5
    )
    assert output.gene_parameters["c"].shape == (7,)


def test_first_values_go_where_they_are_named_and_no_further():
    net = wide(heads=("a",), gene_parameters=("c",))
    values = {name: jax.numpy.arange(7.0) + i for i, name in enumerate(("eta", "a", "c", "x"))}
    started = net.starting_from(values)
    np.testing.assert_array_equal(started.decoder[-1].bias, values["eta"])
    np.testing.assert_array_equal(started.heads["a"].bias, values["a"])
    np.testing.assert_array_equal(started.gene_parameters["c"], values["c"])
    np.testing.assert_array_equal(started.heads["a"].weight, net.heads["a"].weight)
    assert not np.asarray(net.decoder[-1].bias).any()  # the first one stays as it was


def test_without_noise_a_training_pass_is_the_plain_one():
    net, x = wide(), cells()
    output, divergence = net.disturbed(x, Noise(), jax.random.key(0))
    np.testing.assert_array_equal(output.eta, net(x).eta)
    assert not np.asarray(divergence).any()


def test_dropout_takes_its_share_and_keeps_the_mean():
    # One hidden layer whose values are all 1, and a latent layer that adds them up.
    net = AutoencoderNetwork(3, 1, n_hidden=4000, n_layers=1, key=jax.random.key(0))
    ones = eqx.tree_at(
        lambda n: (n.encoder[0].weight, n.encoder[0].bias, n.encoder[1].weight), net,
        (np.zeros((3, 4000)), np.ones(4000), np.full((4000, 1), 1 / 4000)),
    )  # fmt: skip
    ones = eqx.tree_at(
        lambda n: (n.decoder[0].weight, n.decoder[0].bias, n.decoder[1].weight), ones,
        (np.full((1, 4000), 1.0), np.zeros(4000), np.full((4000, 3), 1 / 4000)),
    )  # fmt: skip
    output, _ = ones.disturbed(np.zeros((50, 3), np.float32), Noise(0.3), jax.random.key(1))
    values = np.asarray(output.eta)
    assert values.mean() == pytest.approx(1, abs=0.01)
    # Var of a mean of 4000 values that are 1/.7 or 0, in each of two layers.
    assert values[:, 0].std() == pytest.approx(np.sqrt(2 * 0.3 / 0.7 / 4000), rel=0.35)


def test_noise_on_the_input_has_the_standard_deviation_that_was_asked_for():
    net = AutoencoderNetwork(6, 6, n_hidden=1, n_layers=0, key=jax.random.key(0))
    eye = eqx.tree_at(
        lambda n: (n.encoder[0].weight, n.decoder[0].weight), net, (np.eye(6), np.eye(6))
    )
    x = np.ones((4000, 6), np.float32)
    output, _ = eye.disturbed(x, Noise(0.0, 0.25), jax.random.key(1))
    assert np.asarray(output.eta).mean() == pytest.approx(1, abs=0.01)
    assert np.asarray(output.eta).std() == pytest.approx(0.25, rel=0.02)


def test_a_variational_network_draws_from_the_distribution_whose_divergence_it_tells():
    net, x = wide(variational=True), cells()[:1].repeat(20_000, axis=0)
    net = eqx.tree_at(lambda n: n.log_variance.bias, net, np.array([-1.0, 0.5]))
    eye = eqx.tree_at(
        lambda n: n.decoder, net,
        AutoencoderNetwork(7, 2, n_hidden=1, n_layers=0, key=jax.random.key(0)).decoder,
    )  # fmt: skip
    output, divergence = eye.disturbed(x, Noise(), jax.random.key(3))
    mean = np.asarray(net.encode(x[:1]), np.float64)[0]
    h = np.maximum(x[0] @ np.asarray(net.encoder[0].weight), 0)
    log_variance = h @ np.asarray(net.log_variance.weight) + [-1.0, 0.5]
    W = np.asarray(eye.decoder[0].weight, np.float64)
    drawn = np.asarray(output.eta)
    np.testing.assert_allclose(drawn.mean(axis=0), mean @ W, atol=0.05)
    expected = W.T @ np.diag(np.exp(log_variance)) @ W
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.1 * np.abs(expected).max())
    # KL of one Gaussian from another by SciPy's entropies: cross-entropy minus entropy.
    normal = stats.norm(mean, np.exp(log_variance / 2))
    cross = 0.5 * (np.log(2 * np.pi) + mean**2 + np.exp(log_variance))
    np.testing.assert_allclose(divergence[0], cross - normal.entropy(), rtol=1e-4)
