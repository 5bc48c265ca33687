"""IDEC against a plain computation, and what joint training does to clusters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cellglass as cg
from cellglass import idec as idec_module
from cellglass.fit import fit_model
from cellglass.idec import (
    _Trained,
    divergence,
    idec,
    objective,
    soft_assignment,
    target_distribution,
)
from cellglass.losses import LOSSES
from cellglass.partition import kmeans
from cellglass.settings import ModelSettings


def plain(Z: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q, P and the divergence of every cell, entry by entry as the papers write them."""
    n, k = len(Z), len(centers)
    Q, P = np.zeros((n, k)), np.zeros((n, k))
    for i in range(n):
        for j in range(k):
            Q[i, j] = 1 / (1 + ((Z[i] - centers[j]) ** 2).sum())
        Q[i] /= Q[i].sum()
    f = Q.sum(axis=0)
    for i in range(n):
        for j in range(k):
            P[i, j] = Q[i, j] ** 2 / f[j]
        P[i] /= P[i].sum()
    return Q, P, (P * np.log(P / Q)).sum(axis=1)


@pytest.fixture(scope="module")
def fit():
    adata = cg.simulate(240, 60, 4, random_state=0)
    settings = ModelSettings(n_latent=4, n_hidden=16, loss="nb", max_epochs=20)
    return fit_model(adata.layers["counts"], settings)


def test_the_target_distribution_and_the_loss_are_those_of_the_papers():
    rng = np.random.default_rng(0)
    Z, centers = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    Q, P, kl = plain(Z, centers)
    found = soft_assignment(jnp.asarray(Z), jnp.asarray(centers))
    np.testing.assert_allclose(found, Q, rtol=1e-5)
    np.testing.assert_allclose(target_distribution(found), P, rtol=1e-4)
    np.testing.assert_allclose(divergence(jnp.asarray(P), found), kl, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 3.0])
def test_what_is_made_small_is_the_networks_loss_and_gamma_times_the_divergence_once(
    fit, gamma
):
    network, rows, loss = fit.model.network, fit.rows, LOSSES["nb"]
    Z = fit.model.network.encode(fit.rows.take(jnp.arange(240)))
    centers = Z[:3] + 0.1
    _, P, kl = plain(np.asarray(Z, float), np.asarray(centers, float))
    batch = rows.batch(jnp.arange(240))
    own = np.asarray(loss.entries(batch, network(batch.x))).mean()
    total, _ = objective(
        _Trained(network, centers), rows, jnp.arange(240), jnp.ones(240), jnp.asarray(P),
        gamma, loss=loss,
    )  # fmt: skip
    assert float(total) == pytest.approx(own + gamma * kl.mean(), rel=1e-4)


def test_the_target_is_held_fixed_and_centres_are_trained(fit):
    Z = fit.model.network.encode(fit.rows.take(jnp.arange(240)))
    centers = Z[:3] + 0.1
    P = target_distribution(soft_assignment(Z, centers))
    slope = jax.grad(
        lambda c: objective(
            _Trained(fit.model.network, c), fit.rows, jnp.arange(240), jnp.ones(240), P, 1.0,
            loss=LOSSES["nb"],
        )[0]
    )(centers)  # fmt: skip
    # dKL/dμ_j = −2/n Σ_i (p_ij − q_ij)(z_i − μ_j)/(1 + ‖z_i − μ_j‖²): Xie et al. 2016, eq. 5.
    Q = np.asarray(soft_assignment(Z, centers))
    away = np.asarray(Z)[:, None] - np.asarray(centers)[None]
    near = 1 / (1 + (away**2).sum(axis=2))
    expected = -2 * (((np.asarray(P) - Q) * near)[..., None] * away).mean(axis=0)
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-6)


def by_hand(fit, *, gamma: float, n_epochs: int, random_state: int):
    """Joint training as the paper tells it: P anew for every epoch, cells in a new order."""
    rows, loss = fit.rows, LOSSES["nb"]
    everyone = jnp.arange(240)
    Z = fit.model.network.encode(rows.take(everyone))
    first = kmeans(np.asarray(Z), 4, random_state=random_state)
    trained = _Trained(
        fit.model.network, jnp.stack([Z[first == j].mean(axis=0) for j in range(4)])
    )
    adam = optax.adam(1e-3)
    state = adam.init(eqx.filter(trained, eqx.is_array))
    said = []
    for epoch in range(1, n_epochs + 1):
        Z = trained.network.encode(rows.take(everyone))
        _, P, _ = plain(np.asarray(Z, float), np.asarray(trained.centers, float))
        P = jnp.asarray(P, jnp.float32)
        order = jax.random.permutation(
            jax.random.fold_in(jax.random.key(random_state), epoch), 240
        )
        clustering = 0.0
        for cells in (order[::2], order[1::2]):  # dealt out to batches of at most 128

            def whole(now, cells=cells, P=P):
                batch = rows.batch(cells)
                z = now.network.encode(batch.x)
                q = 1 / (1 + ((z[:, None] - now.centers[None]) ** 2).sum(axis=2))
                q = q / q.sum(axis=1, keepdims=True)
                kl = (P[cells] * jnp.log(P[cells] / q)).sum(axis=1)
                own = loss.entries(batch, now.network.decode(z)).mean()
                return own + gamma * kl.mean(), kl.sum()

            slope, kl = jax.grad(whole, has_aux=True)(trained)
            updates, state = adam.update(slope, state)
            trained = optax.apply_updates(trained, updates)
            clustering += float(kl)
        said.append(clustering / 240)
    return np.asarray(trained.network.encode(rows.take(everyone))), said


@pytest.mark.parametrize("gamma", [0.0, 0.1, 5.0])
def test_joint_training_is_that_of_the_paper_step_by_step(fit, gamma, monkeypatch):
    monkeypatch.setattr(idec_module, "CHANGED", -1.0)  # to the last epoch
    Z, clustering = by_hand(fit, gamma=gamma, n_epochs=4, random_state=2)
    found = idec(
        fit.model.network, fit.rows, LOSSES["nb"], n_clusters=4, gamma=gamma, max_epochs=4,
        random_state=2,
    )  # fmt: skip
    np.testing.assert_allclose(found.latent_vectors, Z, atol=2e-3 * Z.std())
    np.testing.assert_allclose(found.history["clustering"], clustering, rtol=1e-3)


def test_joint_training_ends_when_hardly_a_cell_changes_its_cluster(fit, monkeypatch):
    how = {"n_clusters": 4, "max_epochs": 30, "random_state": 2}
    changed = idec(fit.model.network, fit.rows, LOSSES["nb"], **how).history["changed"]
    assert len(changed) < 30
    assert changed[-1] < idec_module.CHANGED <= min([*changed[:-1], 1.0])


def test_the_clustering_loss_draws_cells_to_their_centres(fit, monkeypatch):
    monkeypatch.setattr(idec_module, "CHANGED", -1.0)
    how = {"n_clusters": 4, "max_epochs": 15, "random_state": 2}

    def likeness(gamma: float) -> float:
        found = idec(fit.model.network, fit.rows, LOSSES["nb"], gamma=gamma, **how)
        Z, centers = found.latent_vectors, found.centers
        Q, _, _ = plain(Z.astype(float), centers.astype(float))
        return float(Q.max(axis=1).mean())

    assert likeness(5.0) > likeness(0.5) > likeness(0.0)


def test_joint_training_can_be_repeated_and_puts_cells_with_the_nearest_centre(fit):
    before = fit.model.network
    how = {"n_clusters": 4, "max_epochs": 8, "random_state": 3}
    found = idec(before, fit.rows, LOSSES["nb"], **how)
    again = idec(before, fit.rows, LOSSES["nb"], **how)
    np.testing.assert_array_equal(found.latent_vectors, again.latent_vectors)
    np.testing.assert_array_equal(found.clusters, again.clusters)
    assert (np.diff(np.bincount(found.clusters)) <= 0).all()
    own = np.linalg.norm(found.latent_vectors - found.centers[found.clusters], axis=1)
    every = np.linalg.norm(found.latent_vectors[:, None] - found.centers[None], axis=2)
    np.testing.assert_allclose(own, every.min(axis=1), rtol=1e-5)
    other = idec(before, fit.rows, LOSSES["nb"], **{**how, "random_state": 4})
    assert not np.array_equal(found.latent_vectors, other.latent_vectors)
