"""Training sees every training cell once an epoch, no other, and does what it says."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from cellglass.batches import DenseRows, Rows, on_device
from cellglass.epoch_program import Outcome, cut_into_batches
from cellglass.errors import TrainingError
from cellglass.failures import explain_failure
from cellglass.fit import fit_model
from cellglass.losses import LOSSES
from cellglass.network import AutoencoderNetwork
from cellglass.pca import fit_pca
from cellglass.schedules import learning_rates
from cellglass.settings import ModelSettings, TrainingSettings
from cellglass.train import train
from cellglass.training_progress import Training

N_CELLS, N_GENES = 22, 6
HELD_OUT = np.array([0, 3, 4, 10, 21])
TRAINED = np.setdiff1d(np.arange(N_CELLS), HELD_OUT)  # 17: two batches, one place to fill
NO_CELLS = np.array([], int)


def matrix(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.poisson(1.0, (N_CELLS, N_GENES)) * rng.random((N_CELLS, 1))
    X[5] = 0
    return X.astype(np.float32)


def network(n_genes: int = N_GENES, **kwargs) -> AutoencoderNetwork:
    kwargs = {"n_latent": 2, "n_hidden": 5, "n_layers": 1, **kwargs}
    return AutoencoderNetwork(n_genes, key=jax.random.key(1), **kwargs)


def fit(rows: Rows | np.ndarray, cells=TRAINED, held_out=HELD_OUT, **kwargs) -> Training:
    rows = on_device(rows) if isinstance(rows, np.ndarray) else rows
    loss = LOSSES[kwargs.pop("loss", "nonzero_mse")]
    how = {"max_epochs": 3, "batch_size": 16, "learning_rate": 0.01} | kwargs
    named = ("key", "run", "callbacks", "checkpoint")
    given = {name: how.pop(name) for name in named if name in how}
    given.setdefault("key", jax.random.key(2))
    start = how.pop("start", None) or network()
    return train(start, rows, cells, held_out, loss, TrainingSettings(**how), **given)


def numpy_loss(net: AutoencoderNetwork, X: np.ndarray, loss: str) -> float:
    """The printed formula, with the network run in numpy in float64."""
    h = X.astype(np.float64)
    for part in (net.encoder, net.decoder):
        for i, layer in enumerate(part):
            h = h @ np.asarray(layer.weight, np.float64) + np.asarray(layer.bias)
            h = np.maximum(h, 0) if i < len(part) - 1 else h
    counted = np.ones_like(X, bool) if loss == "mse" else X != 0
    return float(np.square(X - h)[counted].sum() / counted.sum())


# --- which cells ---------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 16, 17, 100])
def test_batches_hold_every_cell_once_and_differ_by_one_at_most(batch_size):
    cells, weights = map(np.asarray, cut_into_batches(jnp.asarray(TRAINED), batch_size))
    assert sorted(cells[weights == 1]) == TRAINED.tolist()
    sizes = weights.sum(axis=1)
    assert sizes.max() <= batch_size and sizes.max() - sizes.min() <= 1
    assert set(cells.ravel()) == set(TRAINED)  # no outsider, even to fill up a batch


def test_no_cells_make_no_batches():
    cells, weights = cut_into_batches(jnp.asarray(NO_CELLS), 4)
    assert cells.size == weights.size == 0


TAKEN: list[list[int]] = []


class Watched(eqx.Module):
    """Rows that write down which cells are asked for."""

    rows: Rows

    def batch(self, cells):
        jax.debug.callback(lambda c: TAKEN.append(np.asarray(c).tolist()), cells)
        return self.rows.batch(cells)


@pytest.fixture(scope="module")
def taken() -> list[list[int]]:
    """Cells of every batch of three epochs: of 16 training cells, 4 at a time."""
    TAKEN.clear()
    fit(Watched(on_device(matrix())), TRAINED[:16], HELD_OUT[:3], batch_size=4)
    jax.effects_barrier()
    return TAKEN


def test_every_training_cell_is_visited_once_an_epoch_and_no_held_out_one(taken):
    batches = [batch for batch in taken if len(batch) == 4]
    assert len(batches) == 12
    for epoch in range(3):
        visited = np.ravel(batches[4 * epoch : 4 * epoch + 4])
        assert sorted(visited) == TRAINED[:16].tolist()
    watched = [batch for batch in taken if len(batch) == 3]
    assert watched == [HELD_OUT[:3].tolist()] * 3


def test_the_order_of_the_cells_is_drawn_anew_for_every_epoch(taken):
    batches = [batch for batch in taken if len(batch) == 4]
    orders = np.reshape(batches, (3, 16)).tolist()
    assert all(order != sorted(order) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("absurd", [7.0, 1e15], ids=["large", "enormous"])
def test_a_held_out_cell_changes_neither_weights_nor_training_loss(absurd):
    X = matrix()
    plain = fit(X)
    X[HELD_OUT[0]] = absurd
    wild = fit(X)
    assert eqx.tree_equal(plain.network, wild.network)
    assert plain.loss_train == wild.loss_train
    assert plain.loss_validation != wild.loss_validation


def test_a_training_cell_changes_the_weights():
    X = matrix()
    plain = fit(X)
    X[TRAINED[0]] = 7
    assert not eqx.tree_equal(plain.network, fit(X).network)


# --- the losses that are handed on ---------------------------------------------------


@pytest.mark.parametrize("n_cells", [3, 5], ids="{} cells, batch of 4".format)
def test_the_training_loss_is_that_of_all_cells_together(n_cells):
    X, cells = matrix(), TRAINED[:n_cells]
    # So small a step leaves the weights as they are while all batches pass.
    done = fit(X, cells, NO_CELLS, batch_size=4, learning_rate=1e-12, max_epochs=1)
    expected = numpy_loss(network(), X[cells], "nonzero_mse")
    assert done.loss_train == pytest.approx([expected], rel=1e-5)
    assert done.loss_validation == ()


@pytest.mark.parametrize("loss", ["mse", "nonzero_mse"])
def test_the_validation_loss_is_that_of_the_network_handed_back(loss):
    X = matrix()
    done = fit(X, loss=loss)
    expected = numpy_loss(done.network, X[HELD_OUT], loss)
    assert done.loss_validation[-1] == pytest.approx(expected, rel=1e-4)
    assert len(done.loss_train) == len(done.loss_validation) == 3


def test_training_makes_the_loss_smaller_and_leaves_the_start_alone():
    X, start = matrix(), network()
    done = fit(X, start=start, max_epochs=30)
    assert done.loss_train[-1] < 0.8 * done.loss_train[0]
    assert eqx.tree_equal(start, network())


def test_every_epoch_is_told():
    told = []
    done = fit(matrix(), callbacks=[told.append], run="a name")
    assert [(t.run, t.epoch, t.max_epochs) for t in told] == [
        ("a name", e, 3) for e in (1, 2, 3)
    ]
    assert tuple(t.loss_train for t in told) == done.loss_train
    assert tuple(t.loss_validation for t in told) == done.loss_validation
    assert told[-1].learning_rate == pytest.approx(0.01)
    assert 0 < told[0].seconds < told[-1].seconds <= done.seconds
    assert eqx.tree_equal(told[-1].network, done.network)
    assert not eqx.tree_equal(told[0].network, done.network)


def test_the_first_callback_that_returns_true_ends_training_and_all_are_called():
    told = []
    callbacks = [lambda epoch: epoch.epoch == 2, told.append, lambda epoch: "no reason"]
    done = fit(matrix(), callbacks=callbacks)
    assert len(done.loss_train) == len(told) == 2
    assert eqx.tree_equal(done.network, fit(matrix(), max_epochs=2).network)


# --- what is no longer a number ------------------------------------------------------


def test_a_loss_that_runs_away_names_epoch_batch_and_remedy():
    expected = r"loss.* epoch 1 of 3, batch \d of 2.*learning rate: it was 1e\+30; try 1e\+29"
    with pytest.raises(TrainingError, match=expected) as caught:
        fit(matrix(), learning_rate=1e30)
    assert caught.value.training.loss_train == ()


def test_the_last_good_weights_are_those_before_the_epoch_that_failed():
    def explode_in_epoch_3(step):
        return 1e30 if step == 4 else 0.01

    with pytest.raises(
        TrainingError, match=r"epoch 3 of 5, batch 2 of 2.* after epoch 2 "
    ) as e:
        fit(matrix(), max_epochs=5, schedule=explode_in_epoch_3)
    assert eqx.tree_equal(e.value.training.network, fit(matrix(), max_epochs=2).network)
    assert len(e.value.training.loss_train) == 2


def test_weights_that_only_the_last_step_ruins_are_noticed_in_that_epoch():
    def explode_at_the_end(step):
        return 1e38 if step == 5 else 0.01

    with pytest.raises(TrainingError, match=r"weights.* epoch 3 of 3, batch 2 of 2"):
        fit(matrix(), held_out=NO_CELLS, schedule=explode_at_the_end)


@pytest.mark.parametrize("cells", [TRAINED, HELD_OUT], ids=["training", "held-out"])
def test_values_too_large_to_be_squared_are_named_as_the_cause(cells):
    X = matrix()
    X[cells[0]] = 1e30
    with pytest.raises(TrainingError, match=r"epoch 1 of 3, .*the largest among .* is 1e\+30"):
        fit(X, loss="mse")


@pytest.mark.parametrize(("settings", "words"), [
    ({"input_noise": 1e6}, r"too much input_noise: it was 1e\+06.* try 0\.\d"),
    ({"weight_decay": 1e6, "max_epochs": 30}, r"too much weight_decay: it was 1e\+06, so that"),
    ({"schedule": lambda step: 1e30}, r"the schedule gave 1e\+30 at this step; let it give 1e"),
    ({"learning_rate": 1e30}, r"too large a learning rate: it was 1e\+30; try 1e\+29"),
], ids=["noise", "decay", "function", "rate"])  # fmt: skip
def test_the_setting_that_is_most_likely_too_large_is_named(settings, words):
    outcome = Outcome(
        state=None, loss_train=jnp.nan, loss_validation=None, batch_losses=jnp.full(2, jnp.nan),
        first_bad=jnp.asarray(1), weights_finite=jnp.asarray(True), finite=jnp.asarray(False),
    )  # fmt: skip
    asked = TrainingSettings(**settings)
    rates = learning_rates(asked.schedule, asked.learning_rate, start=0, stop=2, n_steps=2)
    batches, _ = cut_into_batches(jnp.arange(20), 10)
    said = explain_failure(
        outcome, on_device(matrix()), batches, NO_CELLS, rates, 3, LOSSES["mse"], asked
    )
    assert re.search(words, said), said
    assert "became nan in epoch 3 of" in said and "batch 2 of 2" in said


@pytest.mark.parametrize("answer", [np.True_, jnp.asarray(True), np.array(True)], ids=repr)
def test_true_of_an_array_library_ends_training_too(answer):
    assert len(fit(matrix(), callbacks=[lambda epoch: answer]).loss_train) == 1


@pytest.mark.parametrize("answer", [1, "yes", np.False_, jnp.asarray(False), np.float32(1)])
def test_nothing_else_does(answer):
    assert len(fit(matrix(), callbacks=[lambda epoch: answer]).loss_train) == 3


@pytest.mark.parametrize(("loss", "X"), [
    ("zinb", np.zeros((20, 4))), ("gaussian", np.full((20, 4), 2.5)), ("nb", np.zeros((20, 4))),
    ("mse", np.full((20, 4), 1e-30)),
])  # fmt: skip
def test_a_matrix_that_holds_nothing_to_learn_is_no_diverged_training(loss, X):
    fit_model(X, ModelSettings(n_latent=1, n_hidden=4, loss=loss, max_epochs=3, batch_size=8))


# --- early stopping ------------------------------------------------------------------


def test_early_stopping_restores_the_best_epoch_and_stops_when_patience_is_over():
    long = fit(matrix(), max_epochs=60, learning_rate=0.05)
    best = int(np.argmin(long.loss_validation)) + 1
    patience = 4
    done = fit(matrix(), max_epochs=60, learning_rate=0.05, patience=patience)
    lowest, waited, stop = np.inf, 0, None
    for epoch, loss in enumerate(long.loss_validation, start=1):  # by the definition
        waited = 0 if loss < lowest else waited + 1
        lowest = min(loss, lowest)
        if waited == patience:
            stop = epoch
            break
    assert stop is not None and len(done.loss_train) == stop < 60
    assert done.best_epoch == stop - patience <= best
    again = fit(matrix(), max_epochs=done.best_epoch, learning_rate=0.05)
    assert eqx.tree_equal(done.network, again.network)


@pytest.mark.parametrize("patience", [40, None])
def test_without_a_stop_too_the_best_epoch_is_restored(patience):
    done = fit(matrix(), max_epochs=40, learning_rate=0.3, patience=patience)
    assert len(done.loss_train) == 40
    assert done.best_epoch == np.argmin(done.loss_validation) + 1 < 40
    again = fit(matrix(), max_epochs=done.best_epoch, learning_rate=0.3)
    assert eqx.tree_equal(done.network, again.network)


def test_without_held_out_cells_the_last_epoch_is_kept():
    ends = []
    done = fit(matrix(), held_out=np.arange(0), max_epochs=4, learning_rate=0.3,
               callbacks=[lambda epoch: ends.append(epoch.network)])  # fmt: skip
    assert done.best_epoch is None
    assert eqx.tree_equal(done.network, ends[-1])


def test_a_decrease_of_less_than_min_delta_does_not_count():
    done = fit(matrix(), max_epochs=30, patience=2, min_delta=1e6)
    assert done.best_epoch == 1 and len(done.loss_train) == 3


# --- the learning rate ---------------------------------------------------------------


def test_a_rate_of_zero_changes_nothing():
    start = network()
    assert eqx.tree_equal(fit(matrix(), start=start, schedule=lambda step: 0.0).network, start)


def test_every_step_has_the_rate_that_the_schedule_gives_it():
    def half(step):
        return 0.01 * (step < 2)

    assert eqx.tree_equal(
        fit(matrix(), schedule=half).network, fit(matrix(), max_epochs=1).network
    )


def test_a_schedule_of_optax_by_name_is_that_schedule():
    import optax

    own = optax.cosine_decay_schedule(0.01, 6)  # three epochs of two steps
    by_name = fit(matrix(), schedule="cosine_decay_schedule")
    by_hand = fit(matrix(), schedule=own)
    for one, other in zip(
        *map(jax.tree.leaves, (by_name.network, by_hand.network)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert not eqx.tree_equal(by_name.network, fit(matrix()).network)


def test_cells_of_zeros_alone_are_no_loss_and_no_nan():
    done = fit(np.zeros((N_CELLS, N_GENES), np.float32))
    assert done.loss_train == (0, 0, 0)
    assert all(np.isfinite(w).all() for w in jax.tree.leaves(done.network))


# --- the same result -----------------------------------------------------------------


@pytest.mark.as_shipped
def test_the_same_key_gives_the_same_weights_to_the_last_bit():
    first, again = fit(matrix()), fit(matrix())
    assert eqx.tree_equal(first.network, again.network)
    other = fit(matrix(), key=jax.random.key(3))
    assert not eqx.tree_equal(first.network, other.network)


@pytest.mark.as_shipped
def test_dense_and_sparse_cells_train_the_same_weights_to_the_last_bit():
    dense = fit(matrix())
    rows = on_device(sparse.csr_matrix(matrix()), dense_budget_bytes=0)
    assert not isinstance(rows, DenseRows)
    csr = fit(rows)
    assert eqx.tree_equal(dense.network, csr.network)
    assert dense.loss_train == csr.loss_train


def test_a_linear_network_comes_close_to_pca_and_never_beats_it():
    rng = np.random.default_rng(0)
    low_rank = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 8)) + 3
    X = (low_rank + rng.normal(scale=0.3, size=(200, 8))).astype(np.float32)
    rows, cells, net = on_device(X), np.arange(200), network(8, n_layers=0)
    for learning_rate in (5e-2, 5e-3, 5e-4):
        done = fit(
            rows, cells, NO_CELLS, loss="mse", start=net, max_epochs=250,
            batch_size=50, learning_rate=learning_rate,
        )  # fmt: skip
        net = done.network
    pca = fit_pca(X, 2, random_state=0)
    best = np.square(X - pca.inverse_transform(pca.transform(X))).mean()
    reached = numpy_loss(net, X, "mse")
    assert best * (1 - 1e-6) <= reached <= best * 1.02
