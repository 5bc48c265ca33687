"""The tools for AnnData: each writes its result into the object, as scanpy's do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.checks import (
    check_callbacks,
    check_choice,
    check_range,
    check_resolution,
)
from cellglass.errors import InputError, TrainingError
from cellglass.kept_models import (
    fellow_spaces,
    get_model,
    model_and_matrix,
    trained_jointly,
)
from cellglass.slots import (
    check_anndata,
    find_representation,
    keys_of_models,
    read_matrix,
)
from cellglass.targets import (
    check_key_is_free,
    check_own,
    check_same_genes,
    check_target,
    would_be_lost,
    write_slots,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from cellglass.callbacks import Callback
    from cellglass.fit import Fit
    from cellglass.model import Model

__all__ = ["autoencoder", "cluster", "denoise", "get_model"]

CLUSTER_COLUMNS = ("confidence", "second", "between")
"""What follows the key in the names of further columns that :func:`cluster` writes."""


def autoencoder(
    adata: AnnData,
    n_latent: int = 10,
    *,
    loss: str = "mse",
    layer: str | None = None,
    use_raw: bool = False,
    n_hidden: int = 100,
    n_layers: int = 1,
    max_epochs: int = 50,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: str | Callable[[int], Any] = "constant_schedule",
    patience: int | None = None,
    min_delta: float = 0.0,
    validation_fraction: float = 0.1,
    dropout_rate: float = 0.0,
    input_noise: float = 0.0,
    weight_decay: float = 0.0,
    variational: bool = False,
    kl_warmup_epochs: int = 10,
    free_bits: float = 0.25,
    input: str = "auto",  # noqa: A002 - the same word in API, command line and report
    random_state: int = 0,
    callbacks: Callback | Sequence[Callback] | None = None,
    reconstruction: bool = False,
    key_added: str = "X_ae",
    copy: bool = False,
) -> AnnData | None:
    """Train an autoencoder on all cells and write down their latent vectors.

    The numbers are those of :func:`cellglass.compare` and :class:`cellglass.Autoencoder`
    with the same settings, to the last bit. If anything fails or is interrupted, the object
    is left as it was.

    Parameters
    ----------
    adata
        Cells × genes, shape (n_cells, n_genes): raw counts or log-normalised values. A view
        becomes an object of its own; of an object that is backed by a file the matrix is
        read into memory, and the results are set in memory, too, not in the file.
    n_latent
        Dimensions of the bottleneck.
    loss
        Name of a loss; ``cellglass.losses.LOSSES`` lists them.
    layer
        Layer to train on; default: ``adata.X``.
    use_raw
        Whether to train on ``adata.raw.X``.
    n_hidden, n_layers
        Width and number of hidden layers on either side of the bottleneck. Without any
        (``n_layers=0``) the network is linear.
    max_epochs
        The most passes over the training cells.
    batch_size
        The most cells in one step.
    learning_rate
        Of Adam; with a schedule, its highest value.
    schedule
        How the learning rate changes: a name of ``cellglass.schedules.SCHEDULES``, or a
        function of the step, from 0, that gives the learning rate.
    patience, min_delta
        Early stopping: training ends when the loss of the held-out cells has not become
        lower by more than ``min_delta`` for ``patience`` epochs. Default: no early stopping.
    validation_fraction
        Share of cells that are never trained on, in [0, 0.9]; at least one cell unless 0.
        The weights that are kept are those of the epoch of their lowest loss, and without
        such cells those of the last epoch.
    dropout_rate
        Share of hidden values that each cell loses in every step of the training, in
        [0, 1).
    input_noise
        Standard deviation of the Gaussian noise that is added to the log-normalised values
        before the encoder sees them, in training only (denoising autoencoder).
    weight_decay
        Share, over the learning rate, by which every step shrinks all weights but not the
        biases (decoupled weight decay).
    variational
        Whether latent vectors are drawn from a Gaussian distribution by cell, whose
        divergence from the standard normal one is added to the loss of the cell. What a
        trained model gives for a cell is then the distribution's mean.
    kl_warmup_epochs
        Epochs over which the weight of that divergence grows from 0 to 1.
    free_bits
        Divergence, in nats, that each latent dimension may have for nothing: what counts is
        its mean over the cells of a batch, but never less than this. So faint groups are not
        given up before they are learned. 0: all of it counts.
    input
        ``counts`` (raw counts: scaled to 10,000 a cell, then log1p), ``log`` (used as it
        is), or ``auto``: counts if every value is a whole number.
    random_state
        Decides everything random.
    callbacks
        Called after every epoch with a :class:`cellglass.callbacks.Epoch`; training ends
        when one returns True.
    reconstruction
        Whether to keep the reconstruction, too.
    key_added
        Name of the latent vectors in ``obsm``. Without a leading ``X_`` it is the key of
        everything else.
    copy
        Whether to leave `adata` as it is and return a changed copy.

    Returns
    -------
    anndata.AnnData or None
        None, or the copy. With the default key it has

        ``obsm["X_ae"]``
            Latent vectors, shape (n_cells, n_latent), float32.
        ``uns["ae"]``
            ``params``: the settings, those that are None left out; ``history``: the loss of
            every epoch over the training cells, ``train``, and over the held-out cells,
            ``validation``, which is empty without any; ``metrics``: mean squared errors on
            the log-normalised scale, as in ``results.json`` of a comparison, those that are
            defined nowhere left out; ``preprocessing``: what the values were taken as, and
            why; ``best_epoch``, with held-out cells: the epoch, from 1, that the weights are
            from; ``model``: the bytes of the model's file, see :func:`get_model`.
        ``layers["ae_reconstruction"]``
            With ``reconstruction=True``: shape (n_cells, n_genes), float32, on the
            log-normalised scale, as the network gives it; it may be negative. Without, that
            of an earlier model under the same key is removed.

    Warns
    -----
    UserWarning
        If values look odd for what they are taken as, or names of genes repeat, by which
        the model could not find them in new cells.

    Raises
    ------
    InputError
        If the matrix or a setting cannot be used, or ``uns`` holds something else under the
        key.
    TrainingError
        If a loss or a weight is no longer finite.
    TrainingInterrupted
        On Ctrl-C, after the epoch is done; its ``training`` holds what stood then.

    See Also
    --------
    denoise : Reconstruct expression with the model.
    cluster : Find clusters in the latent vectors.
    cellglass.pl.loss : Look at how the training went.

    Examples
    --------
    >>> import cellglass as cg
    >>> adata = cg.simulate(100, 50, 3, random_state=0)
    >>> cg.tl.autoencoder(adata, n_latent=5, max_epochs=10)
    >>> adata.obsm["X_ae"].shape
    (100, 5)
    """
    from cellglass.encode import encode, reconstruct
    from cellglass.fit import fit_model
    from cellglass.genes import collect_gene_ids
    from cellglass.losses import LOSSES
    from cellglass.settings import ModelSettings

    check_target(adata, key_added, copy=copy)
    key = _key_of(key_added)
    check_key_is_free(adata, key, key_added)
    settings = ModelSettings(
        n_latent=n_latent, loss=loss, n_hidden=n_hidden, n_layers=n_layers,
        max_epochs=max_epochs, batch_size=batch_size, learning_rate=learning_rate,
        schedule=schedule, patience=patience, min_delta=min_delta,
        validation_fraction=validation_fraction, dropout_rate=dropout_rate,
        input_noise=input_noise, weight_decay=weight_decay, variational=variational,
        kl_warmup_epochs=kl_warmup_epochs, free_bits=free_bits, input=input,
        random_state=random_state,
    )  # fmt: skip
    called = check_callbacks(callbacks)
    slot = read_matrix(adata, layer=layer, use_raw=use_raw)
    if reconstruction and use_raw:
        check_same_genes(adata)
    fit = fit_model(
        slot.X, settings, cells=list(adata.obs_names), genes=list(slot.owner.var_names),
        gene_ids=collect_gene_ids(slot.owner), name=slot.name, callbacks=called,
    )  # fmt: skip
    for sentence in fit.warnings:
        warnings.warn(sentence, stacklevel=2)
    X_hat = reconstruct(fit.model.network, fit.rows, LOSSES[loss])
    if not np.isfinite(X_hat).all():
        raise TrainingError(
            "The reconstructions are no longer finite numbers, although the loss is. Try a "
            f"lower learning rate than {learning_rate:g}.",
            fit.training,
        )
    params = {**settings.to_dict(), "layer": layer, "use_raw": use_raw, "key_added": key_added}
    about = _about(fit, params, X_hat)
    name = f"{key}_reconstruction"
    is_stale = key in keys_of_models(adata) and name in adata.layers
    return write_slots(
        adata, copy=copy, uns={key: about},
        obsm={key_added: encode(fit.model.network, fit.rows)},
        layers={name: X_hat} if reconstruction else {name: None} if is_stale else {},
    )  # fmt: skip


def denoise(
    adata: AnnData,
    *,
    model: Model | str | Path | None = None,
    key: str = "ae",
    layer: str | None = None,
    use_raw: bool = False,
    min_coverage: float = 0.8,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Write down the expression that a model expects of every cell.

    That is the reconstruction of the cell from its latent vector, on the log-normalised
    scale. Expression is never below 0, so negative predictions are set to 0. Losses on counts
    expect a mean count, of which log(1 + x) is taken; that lies above the mean of log(1 + x),
    which a squared error is least at.

    Parameters
    ----------
    adata
        Cells × genes, shape (n_cells, n_genes), of the kind the model was trained on (raw
        counts or log-normalised values); genes are matched by name.
    model
        A model, or the path of one that was saved. Default: the one that
        :func:`autoencoder` left in ``uns``.
    key
        Where that is.
    layer, use_raw
        The matrix to start from: that layer, or ``raw.X``. Default: for the model in
        ``uns`` the matrix that it was trained on, for another ``adata.X``.
    min_coverage
        Smallest share of the model's genes that must be there, in [0, 1].
    key_added
        Name of the new layer. Default: the key with ``_denoised``.
    copy
        Whether to leave `adata` as it is and return a changed copy.

    Returns
    -------
    anndata.AnnData or None
        None, or the copy. With the default key it has

        ``layers["ae_denoised"]``
            Shape (n_cells, n_genes), float32, at least 0.
        ``uns["ae_denoised"]``
            ``params``: which model, and which matrix it was applied to.

    Raises
    ------
    InputError
        If there is no model, the matrix does not suit it, or it lacks genes of `adata`; if
        there is a layer of that name that this function did not make.

    Examples
    --------
    >>> import cellglass as cg
    >>> adata = cg.simulate(100, 50, 3, random_state=0)
    >>> cg.tl.autoencoder(adata, n_latent=5, max_epochs=10)
    >>> cg.tl.denoise(adata)
    >>> float(adata.layers["ae_denoised"].min()) >= 0
    True
    """
    if key_added is None:
        key_added = f"{key}_denoised"
    check_target(adata, key_added, copy=copy)
    check_own(adata, "layers", key_added, made_by="denoise")
    trained, layer, use_raw = model_and_matrix(adata, model, key, layer, use_raw)
    if use_raw:
        check_same_genes(adata)
    match = trained.match(adata, use_raw=use_raw, min_coverage=min_coverage)
    places = np.full(adata.n_vars, -1)
    places[match.columns[match.columns >= 0]] = np.flatnonzero(match.columns >= 0)
    unknown = adata.var_names[places < 0]
    if len(unknown):
        shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        raise InputError(
            f"The model does not know {len(unknown):,} of the {adata.n_vars:,} genes of adata "
            f"({shown}), so it expects nothing of them, and a layer needs a value for every "
            "gene. Take the genes that it knows, adata[:, adata.var_names.isin(model.genes)], "
            "or get the matrix of those alone with model.reconstruct(adata)."
        )
    expected = trained.reconstruct(
        adata, layer=layer, use_raw=use_raw, min_coverage=min_coverage
    )[:, places]
    np.maximum(expected, 0, out=expected)
    source = {"key": key}
    if model is not None:
        said = Path(model).name if isinstance(model, str | Path) else repr(model)
        source = {"model": said}
    params = {**source, "layer": layer, "use_raw": use_raw}
    return write_slots(
        adata, copy=copy, layers={key_added: expected},
        uns={key_added: {"made_by": "denoise", "params": _without_none(params)}},
    )  # fmt: skip


def cluster(
    adata: AnnData,
    method: str = "consensus",
    *,
    use_rep: str | Sequence[str] = "X_ae",
    n_clusters: int | None = None,
    resolution: float | None = None,
    n_neighbors: int = 15,
    seeds: int = 5,
    gamma: float = 0.1,
    max_epochs: int = 50,
    key_added: str | None = None,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Find clusters of cells in a representation, and say how sure each cell's place is.

    By default it trains `seeds` - 1 more networks at each call, each of which takes as long as
    the first; the other methods, but for ``idec``, train nothing. :func:`cellglass.cluster`
    does all of it at once, from the matrix to a page.

    Marker genes are scanpy's, on log-normalised values:
    ``sc.tl.rank_genes_groups(adata, "ae_consensus", method="wilcoxon")``.

    Parameters
    ----------
    adata
        With a representation of its cells in ``obsm``.
    method
        ``consensus``: what several representations agree on
        (:func:`cellglass.cluster_space.consensus_of_spaces`): those of networks like the one
        that :func:`autoencoder` left under the representation's key, which are trained with
        other seeds (without its callbacks) on the matrix that it saw, and as many principal
        components as it has latent dimensions (:func:`cellglass.consensus.votes_of_pca`); or
        those that are named. ``leiden``: communities (Traag et al. 2019) of the graph of
        shared nearest neighbours. ``kmeans``: the best of ten starts. ``gaussian_mixture``:
        distributions of one common covariance (:func:`cellglass.mixture.gaussian_mixture`).
        ``idec``: the network under the representation's key is trained further, together
        with the clusters (:func:`cellglass.idec.idec`).
    use_rep
        Name of the representation; for a consensus several names, or one, of a model that
        :func:`autoencoder` left. Leiden, k-means and mixtures take any in ``obsm``.
    n_clusters
        How many clusters; a warning tells where a method finds fewer. Default: ``leiden``
        finds it (see ``resolution``); of the other
        methods, as many as lie farthest apart, up to the finest that subsamples find again
        (:func:`cellglass.separation.choose_number`).
    resolution
        Of Leiden; more gives more clusters. Default: the finest at which clusters are
        nearly as stable as at any and at most 5 % of the cells are in clusters that subsamples
        do not find again (:func:`cellglass.resolution.scan_resolutions`). Where it is given,
        other methods find as many clusters as Leiden does; a consensus takes none.
    n_neighbors
        Nearest neighbours of every cell in the graph, fewer if there are not that many
        other cells; and the most that a cell hears in a consensus.
    seeds
        Networks of a consensus where one representation is named, its own among them.
    gamma, max_epochs
        Of ``idec``: weight of the clustering loss, and the most passes over the cells.
    key_added
        Name of the result. Default: that of the representation, without a leading ``X_``,
        and the method: ``ae_consensus``.
    random_state
        Decides everything random but the other networks of a consensus: these have the
        random state of the one that is named, and further seeds.
    copy
        Whether to leave `adata` as it is and return a changed copy.

    Returns
    -------
    anndata.AnnData or None
        None, or the copy. With the default key it has

        ``obs["ae_consensus"]``
            Cluster of every cell, categorical: ``"0"``, the largest, ``"1"``, ….
        ``obs["ae_consensus_confidence"]``
            Probability that the cell belongs to it.
        ``obs["ae_consensus_second"]``
            Most probable other cluster, categorical; missing where there is one cluster.
        ``obs["ae_consensus_between"]``
            Whether the cell lies between clusters: its confidence is below 0.8.
        ``uns["ae_consensus"]``
            ``params``: the settings, with the number of clusters, and in
            ``n_clusters_from`` what decided on it: ``given``, ``leiden`` (its resolution, or
            that it finds no stable clusters) or ``silhouette``; ``n_between``; where
            resolutions were scanned, ``scan`` with ``resolutions``, ``stability`` and
            ``n_clusters``, and where numbers were compared, ``separation`` with
            ``n_clusters`` and ``silhouette``; for ``idec``, ``history``.
        ``obsm["X_ae_idec"]``
            For ``idec``: latent vectors after the joint training.

    Raises
    ------
    InputError
        If the representation is not there, or a setting cannot be used; if networks are to
        be trained, and there is no model or its matrix has changed; if ``obs`` or ``uns``
        has something of that name that this function did not make.
    TrainingError
        If networks are trained, and their loss is no longer finite.

    Examples
    --------
    >>> import cellglass as cg
    >>> adata = cg.simulate(100, 50, 3, random_state=0)
    >>> cg.tl.autoencoder(adata, n_latent=5, max_epochs=10)
    >>> cg.tl.cluster(adata, "kmeans", n_clusters=3)
    >>> list(adata.obs["ae_kmeans"].cat.categories)
    ['0', '1', '2']
    """
    import pandas as pd

    from cellglass.cluster_space import METHODS, cluster_space, consensus_of_spaces
    from cellglass.consensus import votes_of_pca

    check_choice("method", method, METHODS)
    check_anndata(adata)
    names = [use_rep] if isinstance(use_rep, str) else list(use_rep)
    if not names or (len(names) > 1 and method != "consensus"):
        raise InputError(
            f"use_rep names {len(names)} representations, but {method} takes "
            f"{'one or more' if method == 'consensus' else 'one'}."
        )
    spaces = [find_representation(adata, name) for name in names]
    key = _key_of(names[0])
    if key_added is None:
        key_added = f"{key}_{method}"
    check_target(adata, key_added, copy=copy)
    added = [key_added, *(f"{key_added}_{what}" for what in CLUSTER_COLUMNS)]
    check_own(adata, "obs", key_added, made_by="cluster", also=added[1:])
    joint_rep = f"X_{key_added}"
    before = adata.uns.get(key_added, {}).get("params", {}).get("method")
    if method == "idec" != before and joint_rep in adata.obsm:
        raise would_be_lost(key_added, f"adata.obsm[{joint_rep!r}]", made_by="cluster")
    check_range("n_neighbors", n_neighbors, low=1, integer=True)
    check_resolution(resolution, method=method, n_clusters=n_clusters)
    check_range("seeds", seeds, low=1, integer=True)
    check_range("gamma", gamma, low=0)
    check_range("max_epochs", max_epochs, low=1, integer=True)
    check_range("random_state", random_state, low=0, high=2**32 - 1, integer=True)
    if n_clusters is not None:
        check_range("n_clusters", n_clusters, low=1, high=adata.n_obs, integer=True)
    if adata.n_obs < 2:
        raise InputError("adata holds 1 cell, but clusters need at least 2.")
    how: dict[str, Any] = {"n_clusters": n_clusters, "n_neighbors": n_neighbors}
    how["random_state"] = random_state
    about: dict[str, Any] = {}
    obsm: dict[str, np.ndarray | None] = {}
    if method == "consensus":
        if len(spaces) == 1:
            fellows, pca = fellow_spaces(
                adata, key, spaces[0], seeds, random_state=random_state
            )
            spaces += fellows
            how |= {"beside": pca, "beside_votes": votes_of_pca(adata.n_obs, seeds)}
        found = consensus_of_spaces(spaces, **how)
    else:
        base = "kmeans" if method == "idec" else method
        found = cluster_space(spaces[0], base, resolution=resolution, **how)
    if method == "idec":
        found, joint = trained_jointly(
            adata, key, spaces[0], found, gamma=gamma, max_epochs=max_epochs,
            random_state=random_state,
        )  # fmt: skip
        about["history"] = {name: np.array(curve) for name, curve in joint.history.items()}
        obsm[joint_rep] = joint.latent_vectors
    elif before == "idec" and joint_rep in adata.obsm:
        obsm[joint_rep] = None  # of the clusters that are replaced
    if n_clusters is not None and found.n_clusters != n_clusters:
        warnings.warn(
            f"{n_clusters:,} clusters were asked for, but in these data {method} finds "
            f"{found.n_clusters:,}.",
            stacklevel=2,
        )
    categories = pd.Index([str(i) for i in range(found.n_clusters)])
    params: dict[str, Any] = {
        "method": method,
        "use_rep": names[0] if len(names) == 1 else np.array(names),
        "n_clusters": found.n_clusters,
        "n_clusters_from": found.n_clusters_from,
        "resolution": resolution or found.resolution,
        "n_neighbors": n_neighbors,
        "random_state": random_state,
    }
    if method == "consensus":
        params["seeds"] = len(spaces)
    if method == "idec":
        params |= {"gamma": gamma, "max_epochs": max_epochs}
    if found.scan is not None:
        scan = found.scan
        about["scan"] = {
            "resolutions": np.array(scan.resolutions), "stability": np.array(scan.stability),
            "n_clusters": np.array(scan.n_clusters),
        }  # fmt: skip
    if found.separation is not None:
        about["separation"] = {
            "n_clusters": np.array(found.separation.n_clusters, np.int64),
            "silhouette": np.array(found.separation.silhouette, np.float64),
        }
    obs = {
        key_added: pd.Categorical.from_codes(found.clusters.tolist(), categories=categories),
        f"{key_added}_confidence": found.confidence,
        f"{key_added}_second": pd.Categorical.from_codes(
            found.second.tolist(), categories=categories
        ),
        f"{key_added}_between": found.between,
    }
    entry = {
        "made_by": "cluster", "params": _without_none(params),
        "n_between": int(found.between.sum()), **about,
    }  # fmt: skip
    return write_slots(adata, copy=copy, obs=obs, obsm=obsm, uns={key_added: entry})


def _about(fit: Fit, params: Mapping[str, Any], X_hat: np.ndarray) -> dict[str, Any]:
    """Gather what is kept of a training, of types that an .h5ad file can hold."""
    from cellglass.metrics import mean_squared_errors, squared_errors

    metrics = mean_squared_errors(squared_errors(fit.X, X_hat), fit.is_validation)
    preprocessing = fit.model.preprocessor.to_dict()
    about = {
        "params": _without_none(params),
        "history": {name: np.array(curve) for name, curve in fit.training.history.items()},
        "metrics": _without_none(metrics),
        "preprocessing": {
            **preprocessing,
            "warnings": np.array(preprocessing["warnings"], str),
        },
        "model": np.frombuffer(fit.model.to_bytes(), np.uint8).copy(),
        "best_epoch": fit.training.best_epoch,
    }
    return _without_none(about)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _key_of(use_rep: str) -> str:
    return use_rep.removeprefix("X_")
