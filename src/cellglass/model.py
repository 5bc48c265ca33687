"""A trained model as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from cellglass.network import AutoencoderNetwork, Dense
from cellglass.preprocess import Preprocessor

FORMAT = "cellglass.model"
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
        if X.ndim != 2 or X.shape[1] != len(self.genes):
            raise InputError(
                f"The matrix has shape {X.shape}, but the model was trained on "
                f"{len(self.genes)} genes; expected cells × {len(self.genes)}, with the "
                "genes in the order of model.genes."
            )
        check_matrix(X, name="the matrix", gene_names=self.genes)
        return self.preprocessor.transform(X)

    def save(self, path: str | Path) -> None:
        """Write one ``.safetensors`` file: weights as tensors, all else as metadata."""
        from safetensors.numpy import save_file

        tensors = {
            f"{part}.{i}.{kind}": np.asarray(getattr(layer, kind))
            for part in ("encoder", "decoder")
            for i, layer in enumerate(getattr(self.network, part))
            for kind in ("weight", "bias")
        }
        content = {
            "format_version": FORMAT_VERSION,
            "loss": self.loss,
            "genes": list(self.genes),
            "preprocessor": self.preprocessor.to_dict(),
            "settings": self.settings,
            "history": self.history,
        }
        save_file(
            tensors, path, metadata={"format": FORMAT, "content": json.dumps(content)}
        )


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
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path} is a .safetensors file, but cellglass did not write it (its metadata "
            f"lack format={FORMAT!r}); expected a model that cellglass saved."
        )
    content = json.loads(metadata["content"])
    if content["format_version"] > FORMAT_VERSION:
        raise InputError(
            f"{path} has model format {content['format_version']}, but this cellglass "
            f"reads formats up to {FORMAT_VERSION}. Install a newer cellglass to open it."
        )
    return Model(
        network=_network_of(tensors),
        loss=content["loss"],
        genes=tuple(content["genes"]),
        preprocessor=Preprocessor.from_dict(content["preprocessor"]),
        settings=content["settings"],
        history=content["history"],
    )


def _network_of(tensors: dict[str, np.ndarray]) -> AutoencoderNetwork:
    """Put weights back into a network of their own widths."""
    n_layers = sum(name.startswith("encoder.") for name in tensors) // 2 - 1
    first, last = tensors["encoder.0.weight"], tensors[f"encoder.{n_layers}.weight"]
    network = AutoencoderNetwork(
        first.shape[0], last.shape[1], n_hidden=first.shape[1], n_layers=n_layers,
        key=jax.random.key(0),
    )  # fmt: skip

    def layers(part: str) -> Sequence[Dense]:
        template = getattr(network, part)
        return jax.tree.unflatten(
            jax.tree.structure(template),
            [
                jnp.asarray(tensors[f"{part}.{i}.{kind}"])
                for i in range(len(template))
                for kind in ("weight", "bias")
            ],
        )

    import equinox as eqx

    return eqx.tree_at(
        lambda n: (n.encoder, n.decoder), network, (layers("encoder"), layers("decoder"))
    )
