"""Every loss is its formula; whatever is in LOSSES keeps the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellglass.batches import DenseRows
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.train import batch_terms, ratio

SHAPE = (6, 4)


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
    numerator, denominator = LOSSES[name].terms(jnp.asarray(y), jnp.asarray(y_hat))
    above, below = by_hand(name, y, y_hat)
    np.testing.assert_allclose(numerator, above, rtol=1e-5, atol=1e-30)
    np.testing.assert_array_equal(denominator, below)


def test_nonzero_mse_is_one_ratio_of_two_sums_over_all_cells():
    y = np.array([[0, 2, 0], [1, 3, 5], [0, 0, 0]], np.float32)
    y_hat = np.array([[9, 1, -9], [2, 3, 3], [7, 7, 7]], np.float32)
    terms = LOSSES["nonzero_mse"].terms(jnp.asarray(y), jnp.asarray(y_hat))
    assert float(ratio(*terms)) == (1 + 1 + 0 + 4) / 4
    assert float(ratio(*terms)) != np.mean([1 / 1, 5 / 3])


def test_nonzero_mse_has_no_gradient_at_a_zero_and_the_formulas_elsewhere():
    rng = np.random.default_rng(0)
    y = (rng.poisson(0.7, SHAPE) * rng.random(SHAPE)).astype(np.float32)
    y[2] = 0
    y_hat = rng.normal(size=SHAPE).astype(np.float32)

    def total(guess):
        return ratio(*LOSSES["nonzero_mse"].terms(jnp.asarray(y), guess))

    gradient = np.asarray(jax.grad(total)(jnp.asarray(y_hat)))
    assert (gradient[y == 0] == 0).all()
    expected = 2 * (y_hat - y) / np.count_nonzero(y)
    np.testing.assert_allclose(gradient[y != 0], expected[y != 0], rtol=1e-5)


def test_nonzero_mse_ignores_what_is_predicted_at_zeros():
    y = np.array([[0, 2.0], [1.0, 0]], np.float32)
    tame, wild = y + 0.5, np.where(y == 0, 1e6, y + 0.5).astype(np.float32)
    for guess in (tame, wild):
        terms = LOSSES["nonzero_mse"].terms(jnp.asarray(y), jnp.asarray(guess))
        assert float(ratio(*terms)) == 0.25


def test_only_zeros_give_a_loss_of_zero_not_nan():
    zeros = jnp.zeros(SHAPE)
    assert float(ratio(*LOSSES["nonzero_mse"].terms(zeros, zeros + 3))) == 0


# --- the contract: a new loss is picked up here by itself ----------------------------


@pytest.fixture(scope="module")
def example() -> tuple[DenseRows, AutoencoderNetwork]:
    rng = np.random.default_rng(1)
    X = rng.poisson(0.8, (12, 5)).astype(np.float32)
    X[3] = 0
    network = AutoencoderNetwork(5, 2, n_hidden=4, n_layers=1, key=jax.random.key(0))
    return DenseRows(jnp.asarray(X)), network


every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_a_loss_has_its_own_name_a_formula_and_says_what_zeros_do(name):
    loss = LOSSES[name]
    assert loss.name == name
    assert loss.formula
    assert isinstance(loss.penalises_zeros, bool)
    hash(loss)  # it is a static argument of the compiled epoch


@every_loss
def test_a_loss_gives_finite_terms_of_one_number_a_cell(name, example):
    rows, network = example
    y = rows.values
    numerator, denominator = LOSSES[name].terms(y, network(y))
    assert numerator.shape == denominator.shape == (len(y),)
    assert numerator.dtype == denominator.dtype == jnp.float32
    assert np.isfinite(numerator).all() and (denominator >= 0).all()
    assert float(ratio(numerator, denominator)) >= 0


@every_loss
def test_a_loss_penalises_zeros_as_it_says(name):
    y = jnp.zeros((2, 3))
    at = [float(LOSSES[name].terms(y, y + guess)[0].sum()) for guess in (0.5, 3.0)]
    assert (at[0] != at[1]) == LOSSES[name].penalises_zeros


@every_loss
def test_a_cell_of_weight_zero_changes_nothing(name, example):
    rows, network = example

    def terms(cells, weights):
        cells, weights = jnp.array(cells), jnp.array(weights)
        return batch_terms(network, rows, cells, weights, loss=LOSSES[name])

    padded = terms([0, 1, 2, 5], [1.0, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(padded, terms([0, 1, 2], [1.0, 1.0, 1.0]), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("cut", [(6,), (1, 11)], ids=str)
def test_a_loss_is_the_same_however_the_cells_are_cut(name, cut, example):
    rows, network = example
    cells, loss = np.arange(12), LOSSES[name]
    whole = ratio(*loss.terms(rows.values, network(rows.values)))
    parts = [
        batch_terms(network, rows, jnp.array(c), jnp.ones(len(c)), loss=loss)
        for c in np.split(cells, cut)
    ]
    numerators, denominators = (jnp.stack(part) for part in zip(*parts, strict=True))
    np.testing.assert_allclose(ratio(numerators, denominators), whole, rtol=1e-5)
