"""How much of the true expression denoising brings back, beside PCA of equal rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_losses, check_matrix, check_n_latent, check_range
from cellglass.dispersion import fit_dispersion
from cellglass.encode import reconstruct
from cellglass.errors import InputError
from cellglass.fit import check_losses_suit, dense_if_small, digest, split_cells, train_network
from cellglass.given import as_anndata, as_tuple
from cellglass.held_out import POISSON_DEVIANCE, SplitCounts
from cellglass.idec import idec
from cellglass.losses import LOSSES
from cellglass.matrices import row_chunks
from cellglass.preprocess import Preprocessor
from cellglass.settings import ModelSettings

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

PCA = "pca"
THINNED = "thinned counts"
"""What is measured of the counts that models see, as they are."""
CONSTANT = 1e-9
"""A gene has no variance where that is a smaller share of its mean square: rounding."""


def score_denoising(
    data: AnnData | np.ndarray | sparse.spmatrix,
    *,
    loss: str | Sequence[str] = "nb",
    n_latent: int = 10,
    n_clusters: int | None = None,
    splits: int = 1,
    random_state: int = 0,
    **settings: Any,
) -> pd.DataFrame:
    """Judge denoising by molecules that it has not seen, and by what it brings back.

    Half the molecules of every cell are taken away at random. Models see the other half, and
    what they expect is held against the half they have not seen (molecular cross-validation,
    Batson et al. 2019) and against all molecules together. Half is meant on average: so that
    overdispersed counts become independent halves, the molecules of one entry go more often
    together than by tosses of a coin (:func:`cellglass.splitting.split_counts`).

    Parameters
    ----------
    data
        Raw counts, shape (n_cells, n_genes), as AnnData (its ``X``), array or sparse matrix.
    loss
        Names of losses, one or several.
    n_latent
        Dimensions of the bottleneck, and rank of the PCA beside.
    n_clusters
        If given, every network is also trained further with so many clusters
        (:func:`cellglass.idec.idec`), and what it then expects is judged, too.
    splits
        How often the molecules are divided anew.
    random_state
        Decides everything random.
    **settings
        Further words of :func:`cellglass.compare`, such as ``max_epochs``.

    Returns
    -------
    pandas.DataFrame
        One row a split and model: every loss, the same with ``, IDEC`` where `n_clusters` is
        given, ``pca`` and ``thinned counts``, which is what models see, as it is. Columns:

        ``held_out_deviance``
            Mean Poisson deviance of the molecules that were not seen; lower is better. None for
            the thinned counts, in which a zero forbids any molecule.
        ``recovery_mse``
            Mean squared error beside the log-normalised values of all molecules.
        ``recovery_correlation``
            Mean over the genes of Pearson's correlation with the same, over the cells; genes
            without variance in either are left out.

        The molecules that were seen are among all molecules, so their noise counts as
        recovered: of the three, the deviance is the one to choose by.

    Raises
    ------
    InputError
        If the matrix does not hold raw counts, or it or a setting cannot be used.

    Examples
    --------
    >>> import cellglass as cg
    >>> from cellglass.denoising import score_denoising
    >>> counts = cg.simulate(300, 60, 3, random_state=0).layers["counts"]
    >>> list(score_denoising(counts, loss="nb", n_latent=2, max_epochs=10)["model"])
    ['nb', 'pca', 'thinned counts']
    """
    import pandas as pd

    losses = as_tuple(loss)
    adata = as_anndata(data)
    check_matrix(adata.X, name="the matrix")
    check_losses(losses, LOSSES)
    check_n_latent((n_latent,), *adata.shape)
    if n_clusters is not None:
        check_range("n_clusters", n_clusters, low=1, high=adata.n_obs, integer=True)
    check_range("splits", splits, low=1, integer=True)
    base = ModelSettings(n_latent=n_latent, random_state=random_state, **settings)
    base.check_for(*adata.shape)
    preprocessor = Preprocessor.fit(adata.X, input=base.input)
    if preprocessor.input != "counts":
        raise InputError(
            "Denoising is judged by molecules that are held out, which takes raw counts, but "
            f"the matrix was taken as log-normalised: {preprocessor.reason}. Give raw counts, "
            'which AnnData often keeps in layers["counts"].'
        )
    check_losses_suit(losses, adata.X, preprocessor, name="the matrix")
    rng = np.random.default_rng(random_state)
    dispersion = fit_dispersion(adata.X, rng)
    everything = dense_if_small(preprocessor.transform(adata.X))
    is_validation = split_cells(adata.n_obs, base.validation_fraction, random_state)
    rows = []
    for split in range(splits):
        held_out = SplitCounts(adata.X, dispersion, preprocessor, rng)
        seen = held_out.rows()
        predictions = {}
        for name in losses:
            run = replace(base, loss=name, seed=split)
            training = train_network(
                seen, is_validation, run, data=f"{digest(adata.X)}, split {split}"
            )
            predictions[name] = reconstruct(training.network, seen, LOSSES[name])
            if n_clusters is not None:
                joint = idec(
                    training.network, seen, LOSSES[name], n_clusters=n_clusters,
                    max_epochs=base.max_epochs, batch_size=base.batch_size,
                    learning_rate=base.learning_rate, random_state=random_state,
                )  # fmt: skip
                predictions[f"{name}, IDEC"] = reconstruct(joint.network, seen, LOSSES[name])
        predictions[PCA] = next(held_out.pca([n_latent]))[1]
        for name, prediction in predictions.items():
            rows.append({
                "split": split, "model": name,
                "held_out_deviance": held_out.error(prediction, POISSON_DEVIANCE),
                **_recovery(prediction, everything),
            })  # fmt: skip
        rows.append({
            "split": split, "model": THINNED, "held_out_deviance": None,
            **_recovery(held_out.seen, everything),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _recovery(
    prediction: np.ndarray | sparse.csr_matrix, everything: np.ndarray | sparse.csr_matrix
) -> dict[str, float]:
    """Hold log-normalised values against those of all molecules, (n_cells, n_genes)."""
    n_cells, n_genes = everything.shape
    sums = np.zeros((5, n_genes))  # of x, y, x², y² and xy by gene
    for start, stop in row_chunks(everything):
        x, y = (
            np.asarray(part if isinstance(part, np.ndarray) else part.toarray(), np.float64)
            for part in (prediction[start:stop], everything[start:stop])
        )
        x = np.maximum(x, 0)  # no expression is below 0
        sums += np.stack([part.sum(axis=0) for part in (x, y, x * x, y * y, x * y)])
    x, y, xx, yy, xy = sums / n_cells
    spread_x, spread_y = xx - x * x, yy - y * y
    there = (spread_x > CONSTANT * xx) & (spread_y > CONSTANT * yy)
    correlation = (xy - x * y)[there] / np.sqrt(spread_x[there] * spread_y[there])
    return {
        "recovery_mse": float((xx - 2 * xy + yy).mean()),
        "recovery_correlation": float(correlation.mean()) if there.any() else float("nan"),
    }
