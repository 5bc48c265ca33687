"""A trained model as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from cellglass.batches import on_device
from cellglass.checks import check_matrix
from cellglass.encode import encode, reconstruct
from cellglass.errors import InputError
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor

METADATA_KEY = "cellglass"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Model:
    """A trained autoencoder with all that is needed to apply it.

    Attributes
    ----------
    network
        The weights.
    loss
        Name of the loss it was trained with.
    genes
        Names of the genes, in the order of the network's input.
    preprocessor
        What is done to a matrix before the network sees it.
    settings
        How it was trained: ``seed``, ``max_epochs``, ``batch_size`` and so on.
    history
        Loss by epoch, ``train`` and ``validation``.
    """

    network: AutoencoderNetwork
    loss: str
    genes: tuple[str, ...]
    preprocessor: Preprocessor
    settings: dict[str, Any]
    history: dict[str, list[float]]

    def transform(self, X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Encode cells.

        Parameters
        ----------
        X
            Shape (n_cells, n_genes), of the kind the model was trained on (raw counts or
            log-normalised values) and with its genes in its order.

        Returns
        -------
        numpy.ndarray
            Latent vectors, shape (n_cells, n_latent), float32.
        """
        return encode(self.network, on_device(self._preprocess(X)))

    def reconstruct(self, X: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Reconstruct cells on the preprocessed (log-normalised) scale.

        Returns
        -------
        numpy.ndarray
            Shape (n_cells, n_genes), float32.
        """
        return reconstruct(self.network, on_device(self._preprocess(X)))

    def _preprocess(self, X: np.ndarray | sparse.csr_matrix) -> Any:
        if not (isinstance(X, np.ndarray) or sparse.issparse(X)):
            raise InputError(
                f"The cells are given as {type(X).__name__}; expected a NumPy array or a "
                "SciPy sparse matrix, such as adata.X, with the genes of model.genes."
            )
        if X.ndim != 2 or X.shape[1] != len(self.genes):
            raise InputError(
                f"The matrix has shape {X.shape}, but the model was trained on "
                f"{len(self.genes)} genes; expected cells × {len(self.genes)}, with the "
                "genes in the order of model.genes."
            )
        check_matrix(X, name="the matrix", gene_names=self.genes, least_cells=1)
        return self.preprocessor.transform(X)

    def save(self, path: str | Path) -> None:
        """Write one ``.safetensors`` file: weights as tensors, all else as metadata."""
        from safetensors.numpy import save_file

        names = _tensor_names(len(self.network.encoder) - 1)
        weights = map(np.asarray, jax.tree.leaves(self.network))
        tensors = dict(zip(names, weights, strict=True))
        content = {
            "format_version": FORMAT_VERSION,
            "loss": self.loss,
            "genes": list(self.genes),
            "preprocessor": self.preprocessor.to_dict(),
            "settings": self.settings,
            "history": self.history,
        }
        # One key only: safetensors writes several in an order that changes from file to file.
        save_file(tensors, path, metadata={METADATA_KEY: json.dumps(content)})


def load(path: str | Path) -> Model:
    """Read a model that :meth:`Model.save` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a model, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}; expected a model that cellglass saved.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{path} cannot be read as a model ({error}): it is damaged, cut short, or not "
            "a .safetensors file. Copy it again from where it was saved."
        ) from None
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{path} is a .safetensors file, but cellglass did not write it (its metadata "
            f"lack {METADATA_KEY!r}); expected a model that cellglass saved."
        )
    try:
        content = json.loads(metadata[METADATA_KEY])
        newer = content["format_version"] > FORMAT_VERSION
        if not newer:
            return Model(
                network=_network_of(tensors, len(content["genes"])),
                loss=content["loss"],
                genes=tuple(content["genes"]),
                preprocessor=Preprocessor.from_dict(content["preprocessor"]),
                settings=content["settings"],
                history=content["history"],
            )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is a model of cellglass, but a part of it is missing or changed "
            f"({type(error).__name__}: {error}). Copy it again from where it was saved."
        ) from error
    raise InputError(
        f"{path} has model format {content['format_version']}, but this cellglass reads "
        f"formats up to {FORMAT_VERSION}. Install a newer cellglass to open it."
    )


def _network_of(tensors: dict[str, np.ndarray], n_genes: int) -> AutoencoderNetwork:
    """Put weights back into a network of their own widths.

    Raises
    ------
    KeyError, ValueError
        If a tensor is missing, or does not fit the others.
    """
    n_layers = sum(name.startswith("encoder.") for name in tensors) // 2 - 1
    first, last = tensors["encoder.0.weight"], tensors[f"encoder.{n_layers}.weight"]
    network = AutoencoderNetwork(
        n_genes, last.shape[1], n_hidden=first.shape[1], n_layers=n_layers,
        key=jax.random.key(0),
    )  # fmt: skip
    expected, structure = jax.tree.flatten(network)
    weights = [tensors[name] for name in _tensor_names(n_layers)]
    for name, weight, like in zip(_tensor_names(n_layers), weights, expected, strict=True):
        if weight.shape != like.shape:
            raise ValueError(f"{name} has shape {weight.shape}, expected {like.shape}")
    return jax.tree.unflatten(structure, map(jnp.asarray, weights))


def _tensor_names(n_layers: int) -> list[str]:
    """Names of the weights in the file, in the order of the network's leaves."""
    return [
        f"{part}.{i}.{kind}"
        for part in ("encoder", "decoder")
        for i in range(n_layers + 1)
        for kind in ("weight", "bias")
    ]
