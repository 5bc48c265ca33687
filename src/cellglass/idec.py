"""Improved deep embedded clustering: clusters and latent vectors learned together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cellglass.batches import Rows
from cellglass.encode import encode
from cellglass.epoch_program import cut_into_batches, ratio, weighted
from cellglass.errors import TrainingError
from cellglass.losses import Loss
from cellglass.network import AutoencoderNetwork
from cellglass.partition import by_size, first_cells, kmeans

GAMMA = 0.1
"""Weight of the clustering loss, as in Guo et al. 2017."""
CHANGED = 0.001
"""Training ends when a smaller share of the cells changed its cluster in an epoch."""


@dataclass(frozen=True)
class Idec:
    """A network trained further together with its clusters.

    Attributes
    ----------
    network
        The network, of which every part was trained.
    centers
        Of the clusters, in order of the clusters' numbers, shape (n_clusters, n_latent).
    latent_vectors
        Of all cells, shape (n_cells, n_latent), float32.
    clusters
        Most probable cluster of every cell, from 0, the largest first, shape (n_cells,).
    history
        By epoch: ``reconstruction``, the network's own loss; ``clustering``, KL(P ‖ Q) a
        cell, in nats; ``changed``, the share of the cells whose cluster changed.
    """

    network: AutoencoderNetwork
    centers: np.ndarray
    latent_vectors: np.ndarray
    clusters: np.ndarray
    history: dict[str, list[float]]


class _Trained(eqx.Module):
    network: AutoencoderNetwork
    centers: Array  # (n_clusters, n_latent)


@jax.jit  # so that no array of cells × clusters × dimensions is made
def soft_assignment(Z: Array, centers: Array) -> Array:
    """Similarity of cells to centres (Xie et al. 2016, equation 1, with α = 1).

    q_ij = (1 + ‖z_i − μ_j‖²)⁻¹ / Σ_l (1 + ‖z_i − μ_l‖²)⁻¹

    Parameters
    ----------
    Z
        Latent vectors, shape (n_cells, n_latent).
    centers
        Shape (n_clusters, n_latent).

    Returns
    -------
    Array
        Shape (n_cells, n_clusters); rows add up to 1.
    """
    squared = jnp.square(Z[:, None, :] - centers[None]).sum(axis=2)
    q = 1 / (1 + squared)
    return q / q.sum(axis=1, keepdims=True)


def target_distribution(Q: Array) -> Array:
    """Sharpen soft assignments to what they are drawn to (Xie et al. 2016, equation 3).

    p_ij = (q_ij² / f_j) / Σ_l (q_il² / f_l) with f_j = Σ_i q_ij over all cells.

    Parameters
    ----------
    Q
        Soft assignments of all cells, shape (n_cells, n_clusters).

    Returns
    -------
    Array
        Same shape; rows add up to 1.
    """
    weight = jnp.square(Q) / Q.sum(axis=0)
    return weight / weight.sum(axis=1, keepdims=True)


def divergence(P: Array, Q: Array) -> Array:
    """Σ_j p_ij log(p_ij / q_ij) of every cell, in nats, shape (n_cells,)."""
    return jax.scipy.special.rel_entr(P, Q).sum(axis=1)


def idec(
    network: AutoencoderNetwork,
    rows: Rows,
    loss: Loss,
    *,
    n_clusters: int,
    gamma: float = GAMMA,
    max_epochs: int = 50,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    random_state: int = 0,
) -> Idec:
    """Train a network further so that its latent vectors gather around cluster centres.

    Deep embedded clustering in its joint form (IDEC, Guo et al. 2017): what is made small is
    L + γ · KL(P ‖ Q), the first term the network's own loss, a mean over entries, the second
    a mean over cells, of :func:`divergence`. Of a variational network that is the loss of the
    means of its latent distributions: nothing is drawn, and nothing else is added or disturbed
    in joint training. Keeping the reconstruction loss keeps the
    latent vectors from being torn into clusters that are not in the data, which clustering
    alone does (Xie et al. 2016). Centres begin at those of k-means and are trained, too. P is
    computed from all cells at the beginning of every epoch and held fixed through it.

    All cells are trained on: clusters are wanted of just these.

    Parameters
    ----------
    network
        Trained already; it is left as it is.
    rows
        Preprocessed values of all cells, shape (n_cells, n_genes).
    loss
        The network's.
    n_clusters
        Number of clusters.
    gamma
        Weight of the clustering loss, at least 0.
    max_epochs
        The most passes over the cells; training ends when fewer than 0.1 % of them change
        their cluster.
    batch_size, learning_rate
        Of Adam.
    random_state
        Decides the starts of k-means and the order of the cells.

    Raises
    ------
    TrainingError
        If a loss is no longer finite.
    """
    Z = encode(network, rows)
    clusters = kmeans(Z, n_clusters, random_state=random_state)
    centers = np.stack([Z[clusters == j].mean(axis=0) for j in range(clusters.max() + 1)])
    trained = _Trained(network, jnp.asarray(centers))
    optimizer = optax.adam(learning_rate)
    state = optimizer.init(eqx.filter(trained, eqx.is_array))
    key = jax.random.key(random_state)
    history: dict[str, list[float]] = {"reconstruction": [], "clustering": [], "changed": []}
    for epoch in range(1, max_epochs + 1):
        P = target_distribution(soft_assignment(jnp.asarray(Z), trained.centers))
        trained, state, terms = _run_epoch(
            trained, state, rows, P, jax.random.fold_in(key, epoch), jnp.float32(gamma),
            learning_rate, loss=loss, batch_size=batch_size,
        )  # fmt: skip
        reconstruction, clustering = map(float, terms)
        if not np.isfinite(reconstruction + clustering):
            raise TrainingError(
                f"The loss is no longer finite in epoch {epoch} of the clustering. Try a "
                f"lower learning rate than {learning_rate:g}."
            )
        Z = encode(trained.network, rows)
        now = np.asarray(soft_assignment(jnp.asarray(Z), trained.centers).argmax(axis=1))
        changed = float((now != clusters).mean())
        clusters = now
        history["reconstruction"].append(reconstruction)
        history["clustering"].append(clustering)
        history["changed"].append(changed)
        if changed < CHANGED:
            break
    numbers = by_size(clusters)
    centers = np.asarray(trained.centers)[clusters[first_cells(numbers)]]
    return Idec(trained.network, centers, Z, numbers, history)


@partial(jax.jit, static_argnames=("loss", "batch_size"))
def _run_epoch(
    trained: _Trained,
    state: optax.OptState,
    rows: Rows,
    P: Array,  # (n_cells, n_clusters)
    key: Array,
    gamma: Array,
    learning_rate: Array,
    *,
    loss: Loss,
    batch_size: int,
) -> tuple[_Trained, optax.OptState, tuple[Array, Array]]:
    """One pass over all cells in a new order; also both losses over it."""
    order = jax.random.permutation(key, rows.shape[0])
    optimizer = optax.adam(learning_rate)

    def step(
        carry: tuple[_Trained, optax.OptState], batch: tuple[Array, Array]
    ) -> tuple[tuple[_Trained, optax.OptState], tuple[Array, Array, Array, Array]]:
        now, optimizer_state = carry
        gradients, terms = jax.grad(objective, has_aux=True)(
            now, rows, *batch, P, gamma, loss=loss
        )
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(now, updates), optimizer_state), terms

    (trained, state), terms = jax.lax.scan(
        step, (trained, state), cut_into_batches(order, batch_size)
    )
    numerator, denominator, diverged, n_cells = (term.sum() for term in terms)
    return trained, state, (numerator / jnp.maximum(denominator, 1), diverged / n_cells)


def objective(
    trained: _Trained,
    rows: Rows,
    cells: Array,  # (B,)
    weights: Array,  # (B,) 1 for a cell, 0 for padding
    P: Array,  # (n_cells, n_clusters)
    gamma: Array | float,
    *,
    loss: Loss,
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """L + γ · KL(P ‖ Q) over a batch; also the sums that both are ratios of."""
    batch = rows.batch(cells)
    z = trained.network.encode(batch.x)
    numerator, denominator = weighted(loss.terms(batch, trained.network.decode(z)), weights)
    diverged = (divergence(P[cells], soft_assignment(z, trained.centers)) * weights).sum()
    n_cells = weights.sum()
    total = ratio(numerator, denominator) + gamma * ratio(diverged, n_cells)
    return total, (numerator, denominator, diverged, n_cells)
