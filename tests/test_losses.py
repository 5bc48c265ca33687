"""Every loss is its formula; whatever is in LOSSES keeps the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.special import expit

from cellglass.batches import Batch, DenseRows, MaskedRows
from cellglass.epoch_program import batch_terms, ratio
from cellglass.errors import InputError
from cellglass.fit import first_network
from cellglass.gene_statistics import gene_statistics
from cellglass.losses import LOSSES, GeneStatistics, Loss, register
from cellglass.network import Output
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings

SHAPE = (6, 4)


def terms_of(loss, y, eta, **more):
    """The sums of every cell for an output whose heads and parameters are all 0."""
    eta = jnp.asarray(eta)
    heads = {name: jnp.zeros(eta.shape) for name in loss.heads}
    parameters = {name: jnp.zeros(eta.shape[1]) for name in loss.gene_parameters}
    y = jnp.asarray(y)
    return loss.terms(Batch(y, y, **more), Output(eta, heads, parameters))


def by_hand(name: str, y: np.ndarray, y_hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums of every cell from the printed formula, entry by entry, in float64."""
    above, below = np.zeros(len(y)), np.zeros(len(y))
    for cell in range(y.shape[0]):
        for gene in range(y.shape[1]):
            value, guess = float(y[cell, gene]), float(y_hat[cell, gene])
            counted = name == "mse" or value != 0
            above[cell] += (value - guess) ** 2 if counted else 0
            below[cell] += counted
    return above, below


# As in the matrices, most entries are zero, and sometimes those of a whole cell.
values = st.one_of(st.just(0.0), st.just(0.0), st.floats(0.0625, 20, width=32))
matrices = hnp.arrays(np.float32, SHAPE, elements=values)
guesses = hnp.arrays(np.float32, SHAPE, elements=st.floats(-20, 20, width=32))


@pytest.mark.parametrize("name", ["mse", "nonzero_mse"])
@given(y=matrices, y_hat=guesses)
@settings(max_examples=40, deadline=None)
def test_squared_errors_equal_the_formula_by_hand(name, y, y_hat):
    numerator, denominator = terms_of(LOSSES[name], y, y_hat)
    above, below = by_hand(name, y, y_hat)
    np.testing.assert_allclose(numerator, above, rtol=1e-5, atol=1e-30)
    np.testing.assert_array_equal(denominator, below)


def test_nonzero_mse_is_one_ratio_of_two_sums_over_all_cells():
    y = np.array([[0, 2, 0], [1, 3, 5], [0, 0, 0]], np.float32)
    y_hat = np.array([[9, 1, -9], [2, 3, 3], [7, 7, 7]], np.float32)
    terms = terms_of(LOSSES["nonzero_mse"], y, y_hat)
    assert float(ratio(*terms)) == (1 + 1 + 0 + 4) / 4
    assert float(ratio(*terms)) != np.mean([1 / 1, 5 / 3])


def test_nonzero_mse_has_no_gradient_at_a_zero_and_the_formulas_elsewhere():
    rng = np.random.default_rng(0)
    y = (rng.poisson(0.7, SHAPE) * rng.random(SHAPE)).astype(np.float32)
    y[2] = 0
    y_hat = rng.normal(size=SHAPE).astype(np.float32)

    def total(guess):
        return ratio(*terms_of(LOSSES["nonzero_mse"], y, guess))

    gradient = np.asarray(jax.grad(total)(jnp.asarray(y_hat)))
    assert (gradient[y == 0] == 0).all()
    expected = 2 * (y_hat - y) / np.count_nonzero(y)
    np.testing.assert_allclose(gradient[y != 0], expected[y != 0], rtol=1e-5)


def test_nonzero_mse_ignores_what_is_predicted_at_zeros():
    y = np.array([[0, 2.0], [1.0, 0]], np.float32)
    tame, wild = y + 0.5, np.where(y == 0, 1e6, y + 0.5).astype(np.float32)
    for guess in (tame, wild):
        terms = terms_of(LOSSES["nonzero_mse"], y, guess)
        assert float(ratio(*terms)) == 0.25


def test_only_zeros_give_a_loss_of_zero_not_nan():
    zeros = jnp.zeros(SHAPE)
    assert float(ratio(*terms_of(LOSSES["nonzero_mse"], zeros, zeros + 3))) == 0


# --- losses on counts are the likelihoods that they say ------------------------------

rng = np.random.default_rng(5)
COUNTS = rng.poisson(rng.gamma(0.5, 4.0, (30, 7))).astype(np.float32)
COUNTS[4] = 0
PREPROCESSOR = Preprocessor("counts")


def count_rows(counts=COUNTS) -> DenseRows:
    sizes = PREPROCESSOR.size_factors(counts)
    return DenseRows(
        jnp.asarray(PREPROCESSOR.transform(counts)), jnp.asarray(sizes, jnp.float32)
    )


def an_output(n_cells=30, n_genes=7) -> Output:
    draw = np.random.default_rng(6).normal
    named = ("log_dispersion", "dropout_logit")
    return Output(
        jnp.asarray(draw(6, 1, (n_cells, n_genes)), jnp.float32),
        {name: jnp.asarray(draw(0, 1, (n_cells, n_genes)), jnp.float32) for name in named},
        {"log_dispersion": jnp.asarray(draw(0, 1, n_genes), jnp.float32)},
    )


def scipys(name: str, output: Output) -> np.ndarray:
    """Minus the log-likelihood of every entry, from SciPy's distributions."""
    sizes = COUNTS.sum(axis=1, keepdims=True) / 1e4
    mean = sizes * np.exp(np.asarray(output.eta, np.float64))
    if name == "poisson":
        return -stats.poisson.logpmf(COUNTS, mean)
    source = output.heads if name == "nb_gene_cell" else output.gene_parameters
    n = 1 / np.exp(np.asarray(source["log_dispersion"], np.float64))
    found = stats.nbinom.logpmf(COUNTS, n, n / (n + mean))
    if name == "zinb":
        zero = expit(np.asarray(output.heads["dropout_logit"], np.float64))
        found = np.log(zero * (COUNTS == 0) + (1 - zero) * np.exp(found))
    return -found


@pytest.mark.parametrize("name", ["poisson", "nb", "nb_gene_cell", "zinb"])
def test_a_loss_on_counts_is_the_likelihood_of_scipy_around_the_scaled_mean(name):
    output = an_output()
    batch = count_rows().batch(jnp.arange(30))
    counted = COUNTS.sum(axis=1) > 0  # SciPy knows no mean of 0
    np.testing.assert_allclose(
        LOSSES[name].entries(batch, output)[counted], scipys(name, output)[counted],
        rtol=2e-5, atol=2e-5,
    )  # fmt: skip


@pytest.mark.parametrize("log_dispersion", [-1e4, -100.0, 100.0, 1e4])
def test_a_decoder_may_give_any_dispersion(log_dispersion):
    output = an_output()
    batch = count_rows().batch(jnp.arange(30))
    heads = {"log_dispersion": jnp.full(output.eta.shape, log_dispersion)}
    entries = LOSSES["nb_gene_cell"].entries

    def total(heads):
        return entries(batch, output._replace(heads=heads)).sum()

    found, slope = jax.value_and_grad(total)(heads)
    assert np.isfinite(found) and np.isfinite(slope["log_dispersion"]).all()
    if log_dispersion < 0:  # Poisson's limit
        poisson = LOSSES["poisson"].entries(batch, output).sum()
        np.testing.assert_allclose(found, poisson, rtol=1e-5)


def test_the_gaussian_is_that_of_scipy_on_log_normalised_values():
    batch, output = count_rows().batch(jnp.arange(30)), an_output()
    log_variance = output.gene_parameters["log_dispersion"]
    output = output._replace(gene_parameters={"log_variance": log_variance})
    expected = -stats.norm.logpdf(batch.y, output.eta, np.exp(np.asarray(log_variance) / 2))
    np.testing.assert_allclose(
        LOSSES["gaussian"].entries(batch, output), expected, rtol=1e-5, atol=1e-5
    )


@given(counts=hnp.arrays(np.int64, (5, 3), elements=st.integers(0, 300_000)))
@settings(max_examples=60, deadline=None)
def test_counts_come_back_exactly_from_log_normalised_values(counts):
    batch = count_rows(counts).batch(jnp.arange(5))
    np.testing.assert_array_equal(batch.counts, counts)


def test_a_cell_without_counts_changes_neither_loss_nor_gradient():
    rows, output = count_rows(), an_output()
    for name in ("poisson", "nb", "nb_gene_cell", "zinb"):

        def total(eta, name=name):
            return LOSSES[name].entries(rows.batch(jnp.array([4])), output._replace(
                eta=eta, heads={k: v[4:5] for k, v in output.heads.items()})).sum()  # fmt: skip

        value, gradient = jax.value_and_grad(total)(output.eta[4:5])
        assert abs(float(value)) < 1e-2 and np.isfinite(gradient).all()
        assert np.abs(gradient).max() < 1e-2


@pytest.mark.parametrize("name", ["poisson", "nb", "nb_gene_cell", "zinb"])
def test_the_expression_is_the_logarithm_of_the_expected_counts(name):
    """Expected counts of a cell scaled to 10,000, by adding up the distribution itself."""
    output = an_output(1, 3)
    output = output._replace(eta=output.eta - 4)
    mean = np.exp(np.asarray(output.eta, np.float64))
    if name == "zinb":
        mean *= 1 - expit(np.asarray(output.heads["dropout_logit"], np.float64))
    np.testing.assert_allclose(LOSSES[name].expression(output), np.log1p(mean), rtol=1e-5)
    # At a size factor of 1 no other mean of the counts fits the loss: E[x] = Σ x p(x).
    x = np.arange(4000, dtype=np.float32)
    every = _CountsGiven(np.repeat(x[:, None], 3, axis=1))
    p = np.exp(-np.asarray(LOSSES[name].entries(every, output)))
    np.testing.assert_allclose((p * x[:, None]).sum(axis=0), mean[0], rtol=2e-3)


@pytest.mark.parametrize("name", ["poisson", "nb", "nb_gene_cell", "zinb"])
def test_the_mean_of_a_loss_on_counts_is_that_of_its_distribution(name):
    batch, output = count_rows().batch(jnp.arange(30)), an_output()
    expected = COUNTS.sum(axis=1, keepdims=True) / 1e4 * np.exp(output.eta)
    if name == "zinb":
        expected = expected * (1 - expit(output.heads["dropout_logit"]))
    np.testing.assert_allclose(LOSSES[name].mean(batch, output), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["mse", "nonzero_mse", "gaussian"])
def test_a_perfect_prediction_of_log_normalised_values_has_the_counts_as_its_mean(name):
    batch = count_rows().batch(jnp.arange(30))
    output = an_output()._replace(eta=batch.y)
    np.testing.assert_allclose(LOSSES[name].mean(batch, output), COUNTS, rtol=1e-4, atol=1e-6)


class _CountsGiven:
    """A batch of given counts in cells of size factor 1."""

    depth = jnp.ones((1, 1))

    def __init__(self, counts) -> None:
        self.counts = jnp.asarray(counts, jnp.float32)


def test_a_training_starts_from_the_rates_of_the_training_cells():
    settings = ModelSettings(loss="zinb", n_latent=2, n_hidden=4)
    cells = np.arange(10, 30)
    network = first_network(count_rows(), cells, settings)
    part = COUNTS[cells].astype(np.float64)
    sizes = part.sum(axis=1) / 1e4
    np.testing.assert_allclose(
        network.decoder[-1].bias, np.log((part.sum(axis=0) + 0.1) / sizes.sum()), rtol=1e-5
    )
    assert not np.asarray(network.gene_parameters["log_dispersion"]).any()  # φ = 1
    assert (np.asarray(network.heads["dropout_logit"].bias) == -3).all()


def test_a_training_of_every_loss_starts_from_the_same_weights():
    rows, cells = count_rows(), np.arange(30)

    def weights(loss):
        network = first_network(rows, cells, ModelSettings(loss=loss, n_latent=2, n_hidden=4))
        return [layer.weight for layer in (*network.encoder, *network.decoder)]

    for name in LOSSES:
        for one, other in zip(weights("mse"), weights(name), strict=True):
            np.testing.assert_array_equal(one, other)


def test_gene_statistics_leave_hidden_entries_out():
    X = np.asarray(count_rows().values)
    hidden = np.random.default_rng(0).random(X.shape) < 0.3
    found = gene_statistics(MaskedRows.hiding(X, hidden), np.arange(30))
    shown = np.where(hidden, np.nan, X)
    np.testing.assert_allclose(found.mean, np.nanmean(shown, axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.variance, np.nanvar(shown, axis=0), rtol=1e-5)


# --- registering one's own -----------------------------------------------------------


def test_a_loss_of_ones_own_is_one_function_and_one_registration():
    def absolute(batch, output):
        return jnp.abs(batch.y - output.eta)

    own = Loss(name="mae", entries=absolute, formula="Σ |y − ŷ| / (n_cells · n_genes)")
    try:
        assert register(own) is own
        assert register(own) is own
        numerator, denominator = terms_of(LOSSES["mae"], np.ones((2, 3)), np.full((2, 3), 3.0))
        assert list(numerator) == [6, 6] and list(denominator) == [3, 3]
    finally:
        LOSSES.pop("mae", None)


def test_a_name_that_is_taken_or_no_file_could_have_is_refused():
    with pytest.raises(InputError, match="another loss called 'mse' already"):
        register(Loss("mse", lambda batch, output: output.eta, "0"))
    for name in ("", "Huber", "../x", "a b", "1st", "nb-2"):
        with pytest.raises(InputError, match="lower-case letters"):
            register(Loss(name, lambda batch, output: output.eta, "0"))


# --- the contract: a new loss is picked up here by itself ----------------------------

every_loss = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture(scope="module")
def networks():
    settings = {name: ModelSettings(loss=name, n_latent=2, n_hidden=4) for name in LOSSES}
    return {k: first_network(count_rows(), np.arange(30), v) for k, v in settings.items()}


@every_loss
def test_a_loss_has_its_own_name_a_formula_and_says_what_zeros_do(name):
    loss = LOSSES[name]
    assert loss.name == name
    assert loss.formula
    assert isinstance(loss.penalises_zeros, bool)
    hash(loss)  # it is a static argument of the compiled epoch


@every_loss
def test_a_loss_gives_finite_terms_of_one_number_a_cell(name, networks):
    batch = count_rows().batch(jnp.arange(30))
    numerator, denominator = LOSSES[name].terms(batch, networks[name](batch.x))
    assert numerator.shape == denominator.shape == (30,)
    assert numerator.dtype == denominator.dtype == jnp.float32
    assert np.isfinite(numerator).all() and (denominator >= 0).all()
    assert np.isfinite(ratio(numerator, denominator))


@every_loss
def test_a_loss_has_finite_gradients_for_every_weight(name, networks):
    batch, loss = count_rows().batch(jnp.arange(30)), LOSSES[name]
    gradients = jax.grad(lambda n: ratio(*loss.terms(batch, n(batch.x))))(networks[name])
    for gradient in jax.tree.leaves(gradients):
        assert np.isfinite(gradient).all()
    for parameter in gradients.gene_parameters.values():
        assert np.abs(parameter).max() > 0
    for head in gradients.heads.values():
        assert np.abs(head.bias).max() > 0


@every_loss
def test_a_loss_penalises_zeros_as_it_says(name):
    y, loss = jnp.zeros((2, 3)), LOSSES[name]
    more = {"size_factors": jnp.ones(2)}
    at = [float(terms_of(loss, y, y + guess, **more)[0].sum()) for guess in (0.5, 3.0)]
    assert (at[0] != at[1]) == loss.penalises_zeros


@every_loss
def test_what_is_predicted_is_an_expression_of_log_normalised_values(name, networks):
    output = networks[name](count_rows().values)
    expression = LOSSES[name].expression(output)
    assert expression.shape == (30, 7)
    assert np.isfinite(expression).all()
    assert (expression >= 0).all() or not LOSSES[name].on_counts


@every_loss
def test_a_loss_is_lowest_where_what_it_expects_is_what_is_found(name):
    """A negated likelihood, a wrong ``expression`` and forgotten size factors all fail."""
    loss = LOSSES[name]
    sizes = np.repeat([0.5, 1.0, 4.0], 2000)
    counts = np.random.default_rng(8).poisson(1.5 * sizes).astype(np.float32)
    y = jnp.asarray(np.log1p(counts / sizes))[:, None]
    rate = np.array([counts.sum() / sizes.sum()])
    found = y[y != 0] if not loss.penalises_zeros else y
    known = GeneStatistics(np.array([y.mean()]), np.array([y.var()]), rate)
    first = {key: jnp.asarray(value) for key, value in loss.start(known).items()}
    heads = {k: jnp.broadcast_to(first.get(k, jnp.zeros(1)), y.shape) for k in loss.heads}
    parameters = {key: first.get(key, jnp.zeros(1)) for key in loss.gene_parameters}
    batch = Batch(y, y, jnp.asarray(sizes, jnp.float32))
    guesses = np.linspace(-3, 3, 241)
    outputs = [Output(jnp.full_like(y, eta), heads, parameters) for eta in guesses]
    losses = [float(ratio(*loss.terms(batch, output))) for output in outputs]
    at = int(np.argmin(losses))
    assert 0 < at < len(guesses) - 1
    expected = float(loss.expression(outputs[at])[0, 0])
    if loss.on_counts:
        assert np.expm1(expected) == pytest.approx(rate[0], rel=0.08)
        assert np.isclose(loss.mean(batch, outputs[at]).mean(), counts.mean(), rtol=0.08)
    else:
        assert float(found.min()) < expected < float(found.max())  # perhaps a median


@every_loss
def test_a_cell_of_weight_zero_changes_nothing(name, networks):
    rows, network = count_rows(), networks[name]

    def terms(cells, weights):
        cells, weights = jnp.array(cells), jnp.array(weights)
        return batch_terms(network, rows, cells, weights, loss=LOSSES[name])

    padded = terms([0, 1, 2, 5], [1.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(padded, terms([0, 1, 2], [1.0, 1.0, 1.0]), rtol=1e-5)


@every_loss
@pytest.mark.parametrize("cut", [(6,), (1, 11)], ids=str)
def test_a_loss_is_the_same_however_the_cells_are_cut(name, cut, networks):
    rows, network = count_rows(), networks[name]
    cells, loss = np.arange(12), LOSSES[name]
    batch = rows.batch(jnp.asarray(cells))
    whole = ratio(*loss.terms(batch, network(batch.x)))
    parts = [
        batch_terms(network, rows, jnp.array(c), jnp.ones(len(c)), loss=loss)
        for c in np.split(cells, cut)
    ]
    numerators, denominators = (jnp.stack(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(ratio(numerators, denominators), whole, rtol=1e-5)


@every_loss
def test_an_entry_that_is_hidden_changes_neither_loss_nor_gradient(name, networks):
    """The loss with entries hidden is that of the others, whatever stands there."""
    full, network, loss = count_rows().batch(jnp.arange(30)), networks[name], LOSSES[name]
    visible = jnp.asarray(np.random.default_rng(2).random((30, 7)) < 0.7)

    def total(y):
        batch = full._replace(y=y, visible=visible)
        return ratio(*loss.terms(batch, network(full.x)))

    other = jnp.where(visible, full.y, 1.0)
    assert float(total(full.y)) == float(total(other))
    if not loss.on_counts:  # which look at counts, steps without a slope
        assert (np.asarray(jax.grad(total)(full.y))[~np.asarray(visible)] == 0).all()
    entries = np.asarray(loss.entries(full, network(full.x)))
    counted = np.asarray(visible) & (
        True if loss.counted is None else np.asarray(loss.counted(full.y))
    )
    np.testing.assert_allclose(float(total(full.y)), entries[counted].mean(), rtol=1e-5)
