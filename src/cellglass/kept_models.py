"""Models that AnnData objects hold, and networks that are trained on like them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellglass.errors import InputError
from cellglass.slots import check_anndata, keys_of_models, read_matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from cellglass.batches import Rows
    from cellglass.cluster_space import Clusters
    from cellglass.idec import Idec
    from cellglass.model import Model


def get_model(adata: AnnData, key: str = "ae") -> Model:
    """Take a trained model back out of the object that it was trained on.

    It survives writing the object to a file and reading it again. Nothing is trained.

    Parameters
    ----------
    adata
        An object that :func:`autoencoder` was called on.
    key
        Its ``key_added``, without the leading ``X_``.

    Returns
    -------
    cellglass.Model
        To transform other cells, or to save as a file of its own.

    Raises
    ------
    InputError
        If there is no model under that key, or it was altered.

    Examples
    --------
    >>> import cellglass as cg
    >>> adata = cg.simulate(100, 50, 3, random_state=0)
    >>> cg.tl.autoencoder(adata, n_latent=5, max_epochs=10)
    >>> model = cg.tl.get_model(adata)
    >>> model.transform(adata[:10]).shape
    (10, 5)
    """
    from cellglass.model import Model

    check_anndata(adata)
    keys = keys_of_models(adata)
    if key not in keys:
        remedy = (
            f"Name one that does: key={' or '.join(map(repr, keys))}"
            if keys
            else "Train one with cg.tl.autoencoder(adata); one that was saved comes from "
            "cg.load(path)"
        )
        raise InputError(f"adata.uns[{key!r}] holds no model. {remedy}.")
    name = f"The model in adata.uns[{key!r}]"
    return Model.from_bytes(adata.uns[key]["model"].tobytes(), name=name)


def model_and_matrix(
    adata: AnnData, model: Model | str | Path | None, key: str, layer: str | None, use_raw: bool
) -> tuple[Model, str | None, bool]:
    """Find the model that is meant, and the matrix it is to be applied to.

    Returns
    -------
    tuple
        The model; ``layer`` and ``use_raw`` as given, or, for the model in ``uns`` if
        neither was, those that it was trained with.
    """
    from cellglass.model import Model, load

    if isinstance(model, str | Path):
        return load(model), layer, use_raw
    if model is not None:
        if not isinstance(model, Model):
            raise InputError(
                f"model is a {type(model).__name__}, but a cellglass.Model or the path of one "
                "that was saved is needed. An Autoencoder has its own in model_."
            )
        return model, layer, use_raw
    found = get_model(adata, key)
    if layer is None and not use_raw:
        params = adata.uns[key].get("params", {})
        layer, use_raw = params.get("layer"), bool(params.get("use_raw", False))
        if layer is not None and layer not in adata.layers:
            raise InputError(
                f"The model in adata.uns[{key!r}] was trained on adata.layers[{layer!r}], "
                "which is not there now. Set it again, name another one of the same kind of "
                "values, or train a model on what there is."
            )
    return found, layer, use_raw


AS_FAR = 1e-3
"""How far rounding on another machine may move a latent vector, in standard deviations."""


@dataclass(frozen=True)
class TrainedOn:
    """A model, and what it was trained on.

    Attributes
    ----------
    model
        The model.
    values
        Its preprocessed matrix, shape (n_cells, n_genes).
    rows
        The same on the device.
    data
        Checksum of the matrix.
    """

    model: Model
    values: np.ndarray | sparse.csr_matrix
    rows: Rows
    data: str


def trained_on(adata: AnnData, key: str, Z: np.ndarray) -> TrainedOn:
    """Take the model under a key, and the matrix that it was trained on.

    `Z`, shape (n_cells, n_latent), must be what the model makes of that matrix.
    """
    from cellglass.batches import on_device
    from cellglass.encode import encode
    from cellglass.fit import dense_if_small, digest
    from cellglass.genes import collect_gene_ids

    model, layer, use_raw = model_and_matrix(adata, None, key, None, False)
    slot = read_matrix(adata, layer=layer, use_raw=use_raw)
    data = digest(slot.X, list(slot.owner.var_names), collect_gene_ids(slot.owner))
    if model.settings.get("data") != data:
        raise InputError(
            f"The model in adata.uns[{key!r}] was trained on other values than {slot.name} "
            "holds now, or on other cells or genes. Train it again with cg.tl.autoencoder, on "
            "a layer that stays as it is, or take a method that needs no network, such as "
            "method='leiden'."
        )
    values = dense_if_small(model.preprocessor.transform(slot.X))
    rows = on_device(values, model.preprocessor.size_factors(slot.X))
    own = encode(model.network, rows)
    if own.shape != Z.shape or not np.allclose(own, Z, rtol=0, atol=AS_FAR * own.std()):
        raise InputError(
            f"adata.obsm['X_{key}'] is not what the model in adata.uns[{key!r}] makes of "
            f"{slot.name}, so clusters of it and networks like that model do not go together. "
            "Train the model again with cg.tl.autoencoder, or take a method that needs no "
            "network, such as method='leiden'."
        )
    return TrainedOn(model, values, rows, data)


def fellow_spaces(
    adata: AnnData, key: str, Z: np.ndarray, seeds: int, *, random_state: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Make the spaces that vote in a consensus beside that of the model under a key.

    Returns
    -------
    tuple
        Latent vectors of networks like the model, with the seeds after its own, seeds - 1
        arrays of shape (n_cells, n_latent); and as many principal components.
    """
    from dataclasses import fields, replace

    from cellglass.encode import encode
    from cellglass.fit import split_cells, train_networks
    from cellglass.pca import fit_pca
    from cellglass.settings import ModelSettings

    if key not in keys_of_models(adata):
        raise InputError(
            f"A consensus of one representation needs a model in adata.uns[{key!r}], of which "
            "others with other seeds are trained, and there is none. Name another method, such "
            "as method='leiden', several representations, use_rep=[…], or that of a model that "
            "cg.tl.autoencoder left, such as use_rep='X_ae'."
        )
    on = trained_on(adata, key, Z)
    model = on.model
    if seeds > 1 and model.settings.get("schedule") == "custom":
        raise InputError(
            f"The model in adata.uns[{key!r}] was trained with a schedule of your own, which "
            "is not kept, so no others can be trained like it. Train them with "
            "cg.tl.autoencoder, and name their representations, use_rep=[…], or another "
            "method, such as method='leiden'."
        )
    known = {field.name for field in fields(ModelSettings)}
    given: dict[str, Any] = {"free_bits": 0.0}  # as before there were any
    given |= {name: value for name, value in model.settings.items() if name in known}
    settings = ModelSettings(**{**given, "loss": model.loss, "input": model.preprocessor.input})
    trained = train_networks(
        on.rows, split_cells(adata.n_obs, settings.validation_fraction, settings.random_state),
        [replace(settings, seed=settings.seed + i) for i in range(1, seeds)], data=on.data,
    )  # fmt: skip
    spaces = [encode(training.network, on.rows) for training in trained]
    pca = fit_pca(on.values, settings.n_latent, random_state=random_state)
    return spaces, pca.transform(on.values)


def trained_jointly(
    adata: AnnData, key: str, Z: np.ndarray, found: Clusters, *, gamma: float,
    max_epochs: int, random_state: int,
) -> tuple[Clusters, Idec]:  # fmt: skip
    """Train the model under a key together with its clusters."""
    from cellglass.idec import idec
    from cellglass.losses import LOSSES

    if key not in keys_of_models(adata):
        raise InputError(
            f"idec trains a network and its clusters together, and adata.uns[{key!r}] holds no "
            "model that could be trained. Name the representation of one that "
            "cg.tl.autoencoder left, such as use_rep='X_ae'."
        )
    on = trained_on(adata, key, Z)
    model = on.model
    joint = idec(
        model.network, on.rows, LOSSES[model.loss], n_clusters=found.n_clusters, gamma=gamma,
        max_epochs=max_epochs, batch_size=model.settings["batch_size"],
        learning_rate=model.settings["learning_rate"], random_state=random_state,
    )  # fmt: skip
    return found.moved(joint.clusters, before=Z), joint
