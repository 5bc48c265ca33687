"""A trained model: applied to new cells, kept as a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from cellglass.encode import decode, encode, reconstruct
from cellglass.errors import InputError
from cellglass.genes import GeneMatch, match_genes
from cellglass.losses import LOSSES, Loss
from cellglass.memory import check_fits
from cellglass.network import AutoencoderNetwork
from cellglass.new_cells import NewCells, new_cells
from cellglass.outputs import as_path, write_whole
from cellglass.preprocess import Preprocessor
from cellglass.slots import check_anndata, raw_of
from cellglass.tensor_file import pack, unpack

if TYPE_CHECKING:
    from anndata import AnnData

FORMAT_VERSION = 3
KIND = "model"
SUFFIX = ".safetensors"

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
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
    gene_ids
        Ensembl ids of the same genes, ``""`` where a gene has none; None where the
        training data had none.
    """

    network: AutoencoderNetwork
    loss: str
    genes: tuple[str, ...]
    preprocessor: Preprocessor
    settings: dict[str, Any]
    history: dict[str, list[float]]
    gene_ids: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        kind = "raw counts" if self.preprocessor.input == "counts" else "log-normalised values"
        return (
            f"Model of {kind} of {len(self.genes):,} genes: {self.n_latent} latent "
            f"dimensions, trained with {self.loss}"
        )

    @property
    def n_latent(self) -> int:
        """Width of the bottleneck."""
        return self.network.n_latent

    def transform(
        self,
        data: AnnData | np.ndarray | sparse.spmatrix,
        *,
        layer: str | None = None,
        use_raw: bool = False,
        min_coverage: float = 0.8,
    ) -> np.ndarray:
        """Encode cells.

        What comes out for a cell depends on that cell alone: on a CPU it is the same to
        the last bit whatever cells stand around it.

        Parameters
        ----------
        data
            New cells of the kind the model was trained on (raw counts or log-normalised
            values). AnnData, also backed: its genes are found by their names, see
            :func:`cellglass.genes.match_genes`. Array or sparse matrix of shape (n_cells,
            n_genes): the genes are the model's in the model's order.
        layer
            Layer of the AnnData to take; default its ``X``.
        use_raw
            Whether to take ``adata.raw``, which has genes of its own.
        min_coverage
            Smallest share of the model's genes that the AnnData must have, in [0, 1]; the
            others are filled with 0, which is what the model saw where a gene was absent.

        Returns
        -------
        numpy.ndarray
            Latent vectors, shape (n_cells, n_latent), float32.

        Warns
        -----
        UserWarning
            If genes are missing: how many, and the first of them. :meth:`match` has all.

        Raises
        ------
        MissingGenesError
            If the AnnData has too few of the model's genes.
        InputError
            If the data do not fit the model otherwise: repeated genes, other values, or
            values of the other kind although the model's kind was found out from its
            training data.
        """
        return self.encode(self._cells(data, layer, use_raw, min_coverage))

    def encode(self, cells: NewCells) -> np.ndarray:
        """Encode cells that were prepared by :func:`cellglass.new_cells.new_cells`.

        Returns
        -------
        numpy.ndarray
            Latent vectors, shape (n_cells, n_latent), float32.

        Raises
        ------
        InputError
            As :meth:`transform` does, if a value cannot be used.
        """
        out = np.empty((cells.n_cells, self.n_latent), np.float32)
        for start, x in cells.runs(self.preprocessor):
            out[start : start + len(x)] = encode(self.network, x)
        return out

    def reconstruct(
        self,
        data: AnnData | np.ndarray | sparse.spmatrix,
        *,
        layer: str | None = None,
        use_raw: bool = False,
        min_coverage: float = 0.8,
    ) -> np.ndarray:
        """Reconstruct cells on the preprocessed (log-normalised) scale.

        Parameters, warnings and errors are those of :meth:`transform`.

        Returns
        -------
        numpy.ndarray
            Shape (n_cells, n_genes), float32, with the genes of the model in the model's
            order.
        """
        cells = self._cells(data, layer, use_raw, min_coverage)
        out = np.empty((cells.n_cells, len(self.genes)), np.float32)
        for start, x in cells.runs(self.preprocessor):
            out[start : start + len(x)] = reconstruct(self.network, x, LOSSES[self.loss])
        return out

    def inverse_transform(self, Z: np.ndarray | sparse.spmatrix) -> np.ndarray:
        """Decode latent vectors into cells on the preprocessed (log-normalised) scale.

        Parameters
        ----------
        Z
            Latent vectors, shape (n_cells, n_latent), finite numbers, dense or sparse.

        Returns
        -------
        numpy.ndarray
            Shape (n_cells, n_genes), float32.

        Raises
        ------
        InputError
            If the shape is another, or a value is missing or infinite.
        """
        try:
            Z = np.asarray(Z.toarray() if isinstance(Z, sparse.spmatrix) else Z)
        except ValueError:  # rows of several lengths
            Z = np.empty(0, object)
        if Z.ndim != 2 or Z.shape[1] != self.n_latent or Z.dtype.kind not in "buif":
            raise InputError(
                f"The latent vectors are an array of shape {Z.shape} and type {Z.dtype}; "
                f"expected numbers, cells × {self.n_latent}, as transform gives them."
            )
        with np.errstate(over="ignore"):
            values = Z.astype(np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError(
                f"The latent vectors hold {Z[row, column]} at cell {row + 1:,}, dimension "
                f"{column + 1:,} (counted from 1), but every value must be a finite number "
                "that 32-bit floating point can hold. Remove that cell."
            )
        return decode(self.network, values, LOSSES[self.loss])

    def match(
        self,
        adata: AnnData,
        *,
        use_raw: bool = False,
        min_coverage: float = 0.8,
    ) -> GeneMatch:
        """Find the model's genes in an AnnData object, without encoding anything.

        Parameters
        ----------
        adata
            Data with genes in any order.
        use_raw
            Whether to look into ``adata.raw``.
        min_coverage
            Smallest share of the model's genes that must be there, in [0, 1].

        Returns
        -------
        GeneMatch
            Where every gene stands, and in ``missing`` the names of those that are not there.

        Raises
        ------
        MissingGenesError
            If fewer are there.
        InputError
            If a gene of the model could be one of several, or it is no AnnData object.
        """
        check_anndata(adata)
        var = raw_of(adata).var if use_raw else adata.var
        return match_genes(var, self.genes, self.gene_ids, min_coverage=min_coverage)

    def to_bytes(self) -> bytes:
        """Put the model into the bytes that :meth:`save` writes.

        Returns
        -------
        bytes
            The same for the same model.
        """
        content = {
            "loss": self.loss,
            "genes": list(self.genes),
            "gene_ids": None if self.gene_ids is None else list(self.gene_ids),
            "preprocessor": self.preprocessor.to_dict(),
            "settings": self.settings,
            "history": self.history,
        }
        tensors = {name: np.asarray(w) for name, w in named_weights(self.network).items()}
        return pack(tensors, content, kind=KIND, format_version=FORMAT_VERSION)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str = "the model") -> Model:
        """Make a model from the bytes that :meth:`to_bytes` gave, of any format so far.

        Parameters
        ----------
        data
            All bytes of the file.
        name
            What to call it in messages.

        Raises
        ------
        InputError
            If they are damaged, not a model, or of a newer format.
        """
        tensors, content = unpack(data, name=name, kind=KIND, format_version=FORMAT_VERSION)
        try:
            return _model_of(tensors, content)
        except InputError as error:
            raise InputError(f"{name} cannot be used as a model: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write one ``.safetensors`` file, whole or not at all.

        Parameters
        ----------
        path
            Its name; must end in ``.safetensors``. A file of that name is replaced.

        Raises
        ------
        InputError
            If the name does not end in ``.safetensors`` or the file cannot be written.
        """
        path = as_path(path, "path")
        check_model_path(path)
        write_whole(path, self.to_bytes())

    def _cells(
        self, data: Any, layer: str | None, use_raw: bool, min_coverage: float
    ) -> NewCells:
        def match(adata: AnnData) -> GeneMatch:
            found = self.match(adata, use_raw=use_raw, min_coverage=min_coverage)
            if said := found.warning():
                warnings.warn(said, stacklevel=5)
            return found

        return new_cells(data, self.genes, layer=layer, use_raw=use_raw, match=match)


def check_model_path(path: Path) -> None:
    """Check that a model can be saved under a name, before the work.

    Raises
    ------
    InputError
        If the name does not end in ``.safetensors``.
    """
    if path.suffix != SUFFIX:
        raise InputError(
            f"A model cannot be saved as {path}: its name must end in {SUFFIX}, such as "
            f"{path.with_suffix(SUFFIX) if path.name else 'model' + SUFFIX}."
        )


def load(path: str | Path) -> Model:
    """Read a model that :meth:`Model.save` wrote, of this or an earlier version.

    Parameters
    ----------
    path
        A ``.safetensors`` file.

    Returns
    -------
    Model
        As it was saved, to the last bit.

    Warns
    -----
    UserWarning
        If the file is of format 1, which had no checksum, so that it may have been altered.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a model, or of a newer format.
    """
    path = as_path(path, "path")
    if not path.is_file():
        raise InputError(f"There is no file {path}; expected a model that cellglass saved.")
    try:
        check_fits(path.stat().st_size, name=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}. Check that the disk is there "
            "and that you may read the file."
        ) from error
    return Model.from_bytes(data, name=str(path))


def _model_of(tensors: dict[str, np.ndarray], content: dict[str, Any]) -> Model:
    """Check every part of a file's content and put the model together."""
    genes = _names(_part(content, "genes", list), "genes")
    gene_ids = content.get("gene_ids")
    if gene_ids is not None:
        gene_ids = _names(_part(content, "gene_ids", list), "gene_ids")
        if len(gene_ids) != len(genes):
            raise _changed(
                f"its numbers of genes ({len(genes):,}) and of gene_ids "
                f"({len(gene_ids):,}) differ"
            )
    loss = _part(content, "loss", str)
    if loss not in LOSSES:
        raise InputError(
            f"it was trained with the loss {loss!r}, but this cellglass knows only "
            f"{', '.join(LOSSES)}. If it is a loss of your own, register it first "
            "(cellglass.losses.register); otherwise open the file with the version that "
            "trained it."
        )
    history = _part(content, "history", dict)
    for name, values in history.items():
        if not (isinstance(values, list) and all(_is_number(value) for value in values)):
            raise _changed(f"the history {name!r} is no list of numbers")
    return Model(
        network=_network_of(tensors, len(genes), LOSSES[loss]),
        loss=loss,
        genes=genes,
        preprocessor=_preprocessor_of(_part(content, "preprocessor", dict)),
        settings=_part(content, "settings", dict),
        history=history,
        gene_ids=gene_ids,
    )


def _changed(what: str) -> InputError:
    return InputError(f"{what}. Copy it again from where it was saved.")


def _part(content: dict[str, Any], name: str, kind: type[T]) -> T:
    if name not in content:
        raise _changed(f"the part {name!r} is missing")
    part = content[name]
    if not isinstance(part, kind):
        raise _changed(
            f"the part {name!r} is a {type(part).__name__}, expected a {kind.__name__}"
        )
    return part


def _names(names: list[Any], what: str) -> tuple[str, ...]:
    if not names or not all(isinstance(name, str) for name in names):
        raise _changed(f"its {what} are no list of names")
    return tuple(names)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _preprocessor_of(state: dict[str, Any]) -> Preprocessor:
    warnings = state.get("warnings", [])
    fine = (
        isinstance(state.get("detected", False), bool)
        and isinstance(state.get("reason", ""), str)
        and isinstance(warnings, list)
        and all(isinstance(warning, str) for warning in warnings)
    )
    if not fine:
        raise _changed("a part of its 'preprocessor' is of another kind than it should be")
    return Preprocessor.from_dict(state)


def _network_of(tensors: dict[str, np.ndarray], n_genes: int, loss: Loss) -> AutoencoderNetwork:
    """Put weights back into a network of their own widths, as the loss needs it.

    Raises
    ------
    InputError
        If a tensor is missing or too many, does not fit the others, or holds anything
        but finite 32-bit numbers.
    """
    n_layers = sum(name.startswith("encoder.") for name in tensors) // 2 - 1
    variational = "log_variance.weight" in tensors

    def network(n_hidden: int, n_latent: int) -> AutoencoderNetwork:
        """Make one of a shape; under eval_shape, so that no weights are drawn."""
        return AutoencoderNetwork(
            n_genes, n_latent, n_hidden=n_hidden, n_layers=max(n_layers, 0),
            heads=loss.heads, gene_parameters=loss.gene_parameters, variational=variational,
            key=jax.random.key(0),
        )  # fmt: skip

    names = set(named_weights(jax.eval_shape(partial(network, 1, 1))))
    if names != set(tensors):
        odd = sorted(names ^ set(tensors))
        raise _changed(f"the weights are not those of a network (look at {', '.join(odd[:4])})")
    for name, weight in tensors.items():
        if weight.dtype != np.float32 or not np.isfinite(weight).all():
            raise _changed(f"the weights {name} hold something else than finite 32-bit numbers")
        by_gene = name.startswith("gene_parameters.") or name.endswith("bias")
        if weight.ndim != (1 if by_gene else 2) or 0 in weight.shape:
            raise _changed(f"the weights {name} have shape {weight.shape}")
    n_hidden = tensors["encoder.0.weight"].shape[1]
    n_latent = tensors["decoder.0.weight"].shape[0]
    # Shapes alone: no weights are drawn, and none are made by what a file claims.
    expected = jax.eval_shape(partial(network, n_hidden, n_latent))
    for name, like in named_weights(expected).items():
        if tensors[name].shape != like.shape:
            raise _changed(
                f"the weights {name} have shape {tensors[name].shape}, expected {like.shape}"
            )
    weights = [jnp.asarray(tensors[name]) for name in named_weights(expected)]
    return jax.tree.unflatten(jax.tree.structure(expected), weights)


def named_weights(network: AutoencoderNetwork) -> dict[str, Any]:
    """Name all weights of a network as they are called in a file, in the order of its leaves.

    ``encoder.0.weight``, ``decoder.1.bias``, ``heads.dropout_logit.weight``,
    ``gene_parameters.log_dispersion``, …
    """
    found, _ = jax.tree_util.tree_flatten_with_path(network)
    return {".".join(_word(step) for step in path): weight for path, weight in found}


def _word(step: Any) -> str:
    """One step on the way to a weight: an attribute, a place in a row, or a key."""
    for kind in ("name", "idx", "key"):
        if hasattr(step, kind):
            return str(getattr(step, kind))
    raise TypeError(f"no name for {step!r}")
