"""Noise, weight decay and the variational option do what they say, in training alone."""

import importlib
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from anndata import AnnData
from scipy import sparse

import cellglass as cg
from cellglass.batches import Batch, on_device
from cellglass.checkpoint import Checkpoints
from cellglass.encode import encode
from cellglass.epoch_program import charged, ratio, train_step
from cellglass.errors import InputError
from cellglass.fit import first_network, fit_model, train_network
from cellglass.incremental import Ongoing, train_pass
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork, Noise
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings
from cellglass.training_progress import State

COUNTS = np.random.default_rng(0).negative_binomial(1, 0.2, (60, 8)).astype(np.float32)
PREPROCESSOR = Preprocessor("counts")
X = PREPROCESSOR.transform(COUNTS)
HELD_OUT = np.arange(60) % 6 == 0
NOBODY = np.zeros(60, bool)

OPTIONS = {
    "plain": {},
    "dropout": {"dropout_rate": 0.3},
    "input noise": {"input_noise": 0.5},
    "weight decay": {"weight_decay": 0.3},
    "variational": {"variational": True, "kl_warmup_epochs": 2},
    "all": {
        "dropout_rate": 0.2, "input_noise": 0.2, "weight_decay": 0.1, "variational": True,
    },
}  # fmt: skip


def rows():
    return on_device(X, PREPROCESSOR.size_factors(COUNTS))


def settings(**kwargs):
    base = {"n_latent": 2, "n_hidden": 5, "max_epochs": 4, "batch_size": 16}
    return ModelSettings(**{**base, "loss": "mse", "learning_rate": 0.01, **kwargs})


def trained(held_out=HELD_OUT, callbacks=(), checkpoints=None, **kwargs):
    return train_network(
        rows(), held_out, settings(**kwargs), data="", callbacks=callbacks,
        checkpoints=checkpoints,
    )  # fmt: skip


def weights(network):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(network)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


# --- weight decay ----------------------------------------------------------------------------


def test_weight_decay_is_that_of_adamw_on_weights_but_not_on_biases():
    """One batch an epoch, so that Optax can repeat the steps on the whole matrix."""
    how = settings(weight_decay=0.3, batch_size=60)
    found = trained(NOBODY, weight_decay=0.3, batch_size=60)
    network = first_network(rows(), np.arange(60), how)
    is_weight = jax.tree.map(lambda leaf: leaf.ndim > 1, network)
    optimizer = optax.adamw(how.learning_rate, weight_decay=0.3, mask=is_weight)
    state = optimizer.init(eqx.filter(network, eqx.is_array))
    batch = rows().batch(jnp.arange(60))
    for _ in range(how.max_epochs):
        gradients = jax.grad(
            lambda net: ratio(*LOSSES["mse"].terms(batch, net(batch.x)))
        )(network)  # fmt: skip
        updates, state = optimizer.update(gradients, state, network)
        network = optax.apply_updates(network, updates)
    for a, b in zip(weights(found.network), weights(network), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)
    assert not same(found.network, trained(NOBODY, batch_size=60).network)


# --- noise -----------------------------------------------------------------------------------


def network(**kwargs):
    return AutoencoderNetwork(8, 2, n_hidden=200, n_layers=1, key=jax.random.key(0), **kwargs)


def test_dropout_drops_its_share_and_keeps_the_mean():
    net = network()
    x = jnp.asarray(X)
    hidden = jax.nn.relu(net.encoder[0](x))
    keys = jax.random.split(jax.random.key(1), 300)
    # The last layers are linear: what the output is on average, the hidden layer was.
    linear = eqx.tree_at(lambda n: n.decoder[0].bias, net, jnp.full(200, 50.0))  # all ReLUs on
    usual = linear(x).eta
    drawn = jax.vmap(lambda key: linear.disturbed(x, Noise(dropout_rate=0.3), key)[0].eta)(keys)
    error = np.asarray(drawn.std(axis=0)) / np.sqrt(300)
    assert (np.abs(drawn.mean(axis=0) - usual) < 5 * error).all()
    assert (np.asarray(drawn.std(axis=0)) > 0).all() and hidden.shape == (60, 200)


def test_input_noise_has_the_standard_deviation_that_was_given():
    net = AutoencoderNetwork(8, 2, n_hidden=1, n_layers=0, key=jax.random.key(0))
    x = jnp.asarray(X)
    keys = jax.random.split(jax.random.key(1), 400)
    drawn = jax.vmap(lambda key: net.disturbed(x, Noise(input_noise=0.5), key)[0].eta)(keys)
    through = np.asarray(net.encoder[0].weight @ net.decoder[0].weight)  # 8 × 8, linear
    expected = 0.5 * np.sqrt(np.square(through).sum(axis=0))
    spread = (drawn - net(x).eta).std(axis=(0, 1))
    np.testing.assert_allclose(spread, expected, rtol=0.03)


@pytest.mark.parametrize("option", ["dropout", "input noise", "variational"])
def test_noise_is_drawn_from_the_key_anew_for_every_batch(option):
    kwargs = OPTIONS[option]
    assert same(trained(**kwargs).network, trained(**kwargs).network)
    assert not same(trained(**kwargs).network, trained().network)
    how = settings(**kwargs)
    net = first_network(rows(), np.arange(60), how)
    one, other = (
        net.disturbed(jnp.asarray(X), how.noise, jax.random.key(i))[0].eta for i in (0, 1)
    )
    again = net.disturbed(jnp.asarray(X), how.noise, jax.random.key(0))[0].eta
    assert not np.array_equal(one, other) and np.array_equal(one, again)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_watched_and_handed_out_is_undisturbed(option):
    ends = []
    done = trained(callbacks=[lambda epoch: ends.append(epoch.network)], **OPTIONS[option])
    batch = rows().batch(jnp.asarray(np.flatnonzero(HELD_OUT)))
    for net, said in zip(ends, done.loss_validation, strict=True):
        undisturbed = ratio(*LOSSES["mse"].terms(batch, net(batch.x)))
        assert said == pytest.approx(float(undisturbed), rel=1e-5)
    Z = encode(done.network, rows())
    np.testing.assert_array_equal(Z, encode(done.network, rows()))
    assert Z.shape == (60, 2)


def test_noise_leaves_the_first_weights_as_they_are():
    plain = first_network(rows(), np.arange(60), settings())
    for option in ("dropout", "input noise", "weight decay"):
        assert same(plain, first_network(rows(), np.arange(60), settings(**OPTIONS[option])))
    variational = first_network(rows(), np.arange(60), settings(variational=True))
    assert same(plain, eqx.tree_at(lambda n: n.log_variance, variational, None))


# --- variational -----------------------------------------------------------------------------


def test_the_divergence_is_that_of_two_gaussian_distributions():
    net = network(variational=True)
    _, found = net.disturbed(jnp.asarray(X), Noise(), jax.random.key(0))
    h = jax.nn.relu(net.encoder[0](jnp.asarray(X)))
    mean = np.asarray(net.encoder[1](h), np.float64)
    sd = np.exp(0.5 * np.asarray(net.log_variance(h), np.float64))
    z = np.linspace(-60, 60, 200_001)[:, None]
    for cell in (0, 7):  # ∫ q log(q / p), dimension by dimension
        log_q = -0.5 * ((z - mean[cell]) / sd[cell]) ** 2 - np.log(sd[cell])
        log_ratio = log_q + 0.5 * z**2
        q = np.exp(log_q) / np.sqrt(2 * np.pi)
        expected = (q * log_ratio).sum(axis=0) * (z[1, 0] - z[0, 0])
        np.testing.assert_allclose(found[cell], expected, rtol=1e-4)


def test_of_each_dimension_the_free_bits_are_charged_at_least():
    divergence = np.array([[1.0, 0.1, 0.0], [3.0, 0.3, 0.0], [9.0, 9.0, 9.0]], np.float32)
    weights = np.array([1.0, 1.0, 0.0], np.float32)  # the third cell is padding
    for free_bits, expected in {0: 4 + 0.4, 0.1: 4 + 0.4 + 0.2, 0.5: 4 + 1 + 1, 3: 18}.items():
        assert float(charged(divergence, weights, free_bits)) == pytest.approx(expected)


@pytest.mark.parametrize("n_free", [0, 1], ids=["all counts", "one dimension is free"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("loss", ["mse", "nonzero_mse", "nb"])
def test_a_step_follows_the_loss_plus_the_weighted_divergence(loss, kl_weight, n_free):
    """Adam's first moment after its first step is a tenth of the gradient."""
    net = first_network(rows(), np.arange(60), settings(loss=loss, variational=True))
    key, cells, ones = jax.random.key(5), jnp.arange(20), jnp.ones(20).at[-1].set(0)
    batch = rows().batch(cells)

    def per_entry(net):
        output, _ = net.disturbed(batch.x, Noise(), key)
        h = jax.nn.relu(net.encoder[0](batch.x))
        mean, log_variance = net.encoder[1](h), net.log_variance(h)
        kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance)
        of_cells = kl[:, by_size[n_free:]].sum(axis=1)  # what is below gives no gradient
        entries, counted = LOSSES[loss].terms(batch, output)
        return ((entries + kl_weight * of_cells) * ones).sum() / (counted * ones).sum()

    of_dimensions = net.disturbed(batch.x, Noise(), key)[1][:19].mean(axis=0)
    by_size = np.argsort(of_dimensions)
    free_bits = float(of_dimensions.mean()) if n_free else 0.0  # between the two
    state = State(net, optax.adam(0.0).init(net))
    after, _ = train_step(
        state, rows(), cells, ones, jnp.asarray(0.1), key, kl_weight, loss=LOSSES[loss],
        noise=Noise(), weight_decay=0.0, free_bits=free_bits,
    )  # fmt: skip
    for moment, gradient in zip(
        weights(after.optimizer[0].mu), weights(jax.grad(per_entry)(net)), strict=True
    ):
        np.testing.assert_allclose(moment / 0.1, gradient, rtol=2e-3, atol=1e-6)


def test_the_weight_of_the_divergence_grows_from_0_to_1():
    how = settings(variational=True, kl_warmup_epochs=4)
    assert [how.kl_weight(epoch) for epoch in (1, 2, 3, 4, 5, 6, 99)] == [
        0, 0.25, 0.5, 0.75, 1, 1, 1,
    ]  # fmt: skip
    assert settings(variational=True, kl_warmup_epochs=0).kl_weight(1) == 1
    # In the first epoch there is no divergence yet: another warm-up changes nothing.
    a, b = (
        trained(variational=True, kl_warmup_epochs=n, max_epochs=1, held_out=NOBODY).network
        for n in (1, 9)
    )
    assert same(a, b)


def test_a_variational_network_of_noise_falls_back_to_the_prior():
    noise = np.random.default_rng(1).normal(0, 0.1, (200, 8)).astype(np.float32)
    how = settings(
        variational=True, kl_warmup_epochs=0, free_bits=0, max_epochs=150, loss="gaussian"
    )
    done = train_network(on_device(noise), np.zeros(200, bool), how, data="")
    h = jax.nn.relu(done.network.encoder[0](jnp.asarray(noise)))
    plain = train_network(
        on_device(noise), np.zeros(200, bool), replace(how, variational=False), data=""
    )
    assert np.abs(encode(done.network, on_device(noise))).max() < 0.3
    np.testing.assert_allclose(np.exp(done.network.log_variance(h)), 1, atol=0.3)
    assert encode(plain.network, on_device(noise)).std() > 0.1


# --- with everything else --------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("loss", "option"), [
    ("nb", "all"), ("zinb", "plain"), ("nb_gene_cell", "weight decay"),
    ("gaussian", "variational"), ("nonzero_mse", "dropout"), ("poisson", "input noise"),
])  # fmt: skip
def test_a_stopped_training_ends_as_one_that_was_not(loss, option, tmp_path):
    kwargs = {"loss": loss, **OPTIONS[option]}

    def stop(epoch):
        if epoch.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        trained(checkpoints=Checkpoints(tmp_path, every=1), callbacks=[stop], **kwargs)
    resumed = trained(checkpoints=Checkpoints(tmp_path, every=1, resume=True), **kwargs)
    straight = trained(**kwargs)
    assert resumed.history == straight.history
    assert same(resumed.network, straight.network)


@pytest.mark.parametrize(("loss", "option"), [
    ("nb", "all"), ("zinb", "plain"), ("mse", "variational"),
])  # fmt: skip
def test_pass_after_pass_is_the_training_in_one_go(loss, option):
    kwargs = {"loss": loss, **OPTIONS[option]}
    ongoing = Ongoing.begin(rows(), settings(**kwargs))
    for _ in range(4):
        ongoing, _ = train_pass(ongoing, rows(), settings(**kwargs))
    assert same(ongoing.state.network, trained(NOBODY, **kwargs).network)


@pytest.mark.parametrize(("loss", "variational"), [
    *((loss, False) for loss in LOSSES), ("nb", True), ("mse", True),
])  # fmt: skip
def test_a_saved_model_of_any_loss_gives_the_same_numbers(loss, variational, tmp_path):
    data = X if not LOSSES[loss].on_counts else COUNTS
    model = fit_model(data, settings(loss=loss, variational=variational, max_epochs=2)).model
    model.save(tmp_path / "m.safetensors")
    again = cg.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(model.transform(data), again.transform(data))
    np.testing.assert_array_equal(model.reconstruct(data), again.reconstruct(data))
    assert again.loss == loss and same(model.network, again.network)
    assert np.isfinite(model.reconstruct(data)).all()


@pytest.mark.parametrize("kwargs", [
    {"loss": "nb"}, {"loss": "mse", "variational": True, "dropout_rate": 0.1},
], ids=["nb", "variational"])  # fmt: skip
@pytest.mark.as_shipped
def test_all_faces_give_the_same_bits(kwargs, tmp_path):
    shared = {"n_hidden": 5, "max_epochs": 3, "batch_size": 16, **kwargs}
    expected = fit_model(COUNTS, ModelSettings(n_latent=2, **shared)).model.transform(COUNTS)
    (run,) = cg.compare(COUNTS, n_latent=2, **shared).runs
    np.testing.assert_array_equal(run.latent_vectors, expected)
    adata = AnnData(COUNTS)
    cg.tl.autoencoder(adata, n_latent=2, **shared)
    np.testing.assert_array_equal(adata.obsm["X_ae"], expected)
    found = cg.Autoencoder(n_latent=2, **shared).fit(COUNTS).transform(COUNTS)
    np.testing.assert_array_equal(found, expected)
    np.save(tmp_path / "counts.npy", COUNTS)
    from typer.testing import CliRunner

    words = ["train", str(tmp_path / "counts.npy"), "--n-latent", "2", "-q",
             "-o", str(tmp_path / "m.safetensors")]  # fmt: skip
    for name, value in shared.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    cli = importlib.import_module("cellglass.cli")
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    loaded = cg.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.transform(COUNTS), expected)


@pytest.mark.as_shipped
def test_sparse_counts_give_the_same_bits_as_dense_ones():
    dense, thin = (
        fit_model(form, settings(loss="nb")).model.network
        for form in (COUNTS, sparse.csr_matrix(COUNTS))
    )
    assert same(dense, thin)


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(("changed", "said"), [
    ({"dropout_rate": 1.0}, r"dropout_rate is 1"),
    ({"dropout_rate": -0.1}, r"dropout_rate is -0\.1"),
    ({"input_noise": -1}, r"input_noise is -1"),
    ({"input_noise": float("nan")}, r"input_noise is nan"),
    ({"weight_decay": -0.5}, r"weight_decay is -0\.5"),
    ({"variational": "yes"}, r"variational is 'yes'"),
    ({"free_bits": -0.1}, r"free_bits is -0\.1"),
    ({"kl_warmup_epochs": -1}, r"kl_warmup_epochs is -1"),
    ({"kl_warmup_epochs": 1.5}, r"kl_warmup_epochs is 1\.5"),
])  # fmt: skip
def test_options_out_of_range_are_refused_by_name(changed, said):
    with pytest.raises(InputError, match=said):
        fit_model(COUNTS, settings(**changed))
    with pytest.raises(InputError, match=said):
        cg.compare(COUNTS, n_latent=2, max_epochs=1, **changed)


def test_values_that_are_no_counts_are_counted_and_placed():
    names = [f"Gene{i}" for i in range(8)]
    half = COUNTS.copy()
    half[3, 5], half[40, 2] = 0.5, 1.25
    adata = AnnData(half)
    adata.var_names = names
    for train in (
        lambda: cg.compare(adata, loss=("mse", "nb"), n_latent=2),
        lambda: cg.tl.autoencoder(adata, loss="nb", n_latent=2),
        lambda: fit_model(half, settings(loss="nb"), genes=names),
    ):
        with pytest.raises(InputError, match=r"nb needs raw counts") as error:
            train()
        said = str(error.value)
        for part in ("2 values", "0.5", "Gene5", 'layer="counts"', "mse"):
            assert part in said, said


@pytest.mark.parametrize("value", [2.0000002, 1.9999999, 1e-30])
def test_what_is_almost_a_count_is_none(value):
    almost = COUNTS.copy()
    almost[3, 5] = value
    assert almost[3, 5] not in (0, 2)
    with pytest.raises(InputError, match="1 value of the matrix is not a whole number"):
        fit_model(almost, settings(loss="nb"))


def test_whole_numbers_that_are_said_to_be_logarithms_are_no_counts():
    with pytest.raises(InputError, match=r'nb needs raw counts.*input="log".*"auto"'):
        fit_model(COUNTS, settings(loss="nb", input="log"))


def test_a_batch_without_size_factors_has_no_counts():
    y = jnp.zeros((2, 3))
    with pytest.raises(TypeError, match="not raw counts"):
        _ = Batch(y, y).counts
