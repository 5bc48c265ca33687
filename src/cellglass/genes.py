"""Finds the genes of a model among those of other data, by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_range
from cellglass.errors import InputError, MissingGenesError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MOST_NAMES = 100
"""As many names are listed in a message; of more, only the number is said."""

_VERSION = re.compile(r"(ENS[A-Z]+\d{10,13})\.\d+(_PAR_Y)?")
_ID = re.compile(r"ENS[A-Z]*G\d{10,13}(_PAR_Y)?|WBGene\d{8}|FBgn\d{7}")


@dataclass(frozen=True)
class GeneMatch:
    """Where the genes of a model stand in other data.

    Attributes
    ----------
    columns
        Column of every gene of the model, from 0, or -1 where the data lack it; shape
        (n_genes,), integers.
    missing
        The model's genes that the data lack, by the names that were compared.
    n_ignored
        Number of genes in the data that the model lacks.
    names_from
        Which names of the data were looked at: ``"var_names"`` or, for instance,
        ``"var['gene_ids']"``.
    matched_with
        Which names of the model they were compared with: ``"genes"`` or ``"gene_ids"``.
    by_position
        Whether the names are the same in the same order, so that each gene is where it
        was, even where names repeat.
    """

    columns: np.ndarray
    missing: tuple[str, ...]
    n_ignored: int
    names_from: str
    matched_with: str
    by_position: bool

    @property
    def n_genes(self) -> int:
        """Number of genes that the model has."""
        return len(self.columns)

    @property
    def n_found(self) -> int:
        """Number of them that the data have."""
        return int((self.columns >= 0).sum())

    @property
    def coverage(self) -> float:
        """Share of the model's genes that the data have."""
        return self.n_found / self.n_genes

    def take(self, X: np.ndarray | sparse.csr_matrix) -> np.ndarray | sparse.csr_matrix:
        """Bring cells into the model's order of genes; 0 where a gene is missing.

        Parameters
        ----------
        X
            Shape (n_cells, genes of the data), dense or CSR.

        Returns
        -------
        numpy.ndarray or scipy.sparse.csr_matrix
            Shape (n_cells, n_genes), of the same kind and type of number; `X` itself where
            nothing changes.
        """
        if self.by_position:
            return X
        found = np.flatnonzero(self.columns >= 0)
        if isinstance(X, np.ndarray):
            taken = np.zeros((X.shape[0], self.n_genes), X.dtype)
            taken[:, found] = X[:, self.columns[found]]
            return taken
        place = np.full(X.shape[1], -1, X.indices.dtype)
        place[self.columns[found]] = found
        genes = place[X.indices]
        kept = genes >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[X.indptr]
        Y = sparse.csr_matrix((X.data[kept], genes[kept], ends), (X.shape[0], self.n_genes))
        Y.sort_indices()
        return Y

    def warning(self) -> str | None:
        """Say how many genes are missing and what stands for them; None: none is."""
        if not self.missing:
            return None
        n = len(self.missing)
        return (
            f"{n:,} of the model's {self.n_genes:,} genes {'are' if n > 1 else 'is'} missing "
            f"in {self.names_from} of the data ({', '.join(self.missing[:5])}"
            f"{', …' if n > 5 else ''}) and count{'s' * (n == 1)} as not expressed; "
            "model.match(adata).missing lists all."
        )

    def describe(self) -> str:
        """Say in one paragraph what was found, missing and left aside."""
        if self.by_position and self.matched_with == "genes":
            return f"All {self.n_genes:,} genes are there, in the model's order."
        what = "names" if self.matched_with == "genes" else "Ensembl ids"
        text = (
            f"{self.n_found:,} of the model's {self.n_genes:,} genes found by their {what} "
            f"({self.names_from})"
        )
        if self.missing:
            text += f"; {len(self.missing):,} missing, filled with 0"
        if self.n_ignored:
            text += f"; {self.n_ignored:,} other{'s' * (self.n_ignored != 1)} not used"
        return text + "."


def match_genes(
    var: pd.DataFrame,
    genes: Sequence[str],
    gene_ids: Sequence[str] | None = None,
    *,
    min_coverage: float = 0.8,
) -> GeneMatch:
    """Find the genes of a model in the ``var`` of an AnnData object.

    The names of the data are compared with those of the model (`genes` and `gene_ids`), and
    the pair with the most genes in common counts; of equal ones, ``var_names`` and `genes`
    come first. Of the data's names those in ``var_names`` and in columns of Ensembl ids are
    asked first. Any other column of text may say something else than what a gene is called,
    and counts only where those find too few. Where a pair leaves open which gene is meant,
    because a name repeats, a pair that does not is taken if it finds enough genes. Version
    suffixes of Ensembl ids are left aside: ``ENSG00000139618.15`` is ``ENSG00000139618``.

    Parameters
    ----------
    var
        One row a gene of the data.
    genes, gene_ids
        Names and, where known, Ensembl ids of the model's genes.
    min_coverage
        Smallest share of the model's genes that must be there, in [0, 1]; default 0.8. At
        least one gene must be there in any case.

    Returns
    -------
    GeneMatch
        Where every gene of the model stands.

    Raises
    ------
    MissingGenesError
        If fewer are there; it holds all their names.
    InputError
        If a gene of the model could be one of several.
    """
    check_range("min_coverage", min_coverage, low=0, high=1)
    ours = {"genes": list(genes)}
    if gene_ids is not None:
        ours["gene_ids"] = list(gene_ids)
    theirs = _names_of(var)
    meant = [name for name in theirs if name == "var_names" or _mostly_ids(theirs[name])]
    pairs = list(product(ours, [*meant, *(name for name in theirs if name not in meant)]))
    trusted = [(mine, other) for mine, other in pairs if other in meant]
    for mine, other in trusted:
        named = mine == "genes" or all(ours[mine])  # an id may be lacking
        if named and ours[mine] == theirs[other]:
            columns = np.arange(len(ours[mine]))
            return GeneMatch(columns, (), 0, other, mine, by_position=True)
    _refuse_numbers(ours["genes"], theirs)

    keys = {name: [_key(gene) for gene in names] for name, names in (ours | theirs).items()}
    found = {pair: _Overlap.of(keys[pair[0]], keys[pair[1]]) for pair in pairs}

    def enough(n: int) -> bool:
        return n > 0 and n / len(genes) >= min_coverage

    def clearest(among: Sequence[tuple[str, str]]) -> tuple[str, str]:
        best = max(among, key=lambda pair: found[pair].n_found)
        if not found[best].unclear:
            return best
        clear = [p for p in among if not found[p].unclear and enough(found[p].n_found)]
        return max(clear, key=lambda pair: found[pair].n_found, default=best)

    pair = clearest(trusted)
    if found[pair].unclear or not enough(found[pair].n_found):
        pair = clearest(pairs)
    mine, other = pair
    columns, unclear = found[pair].columns, found[pair].unclear
    if not enough(found[pair].n_found + len(unclear)):
        raise _too_few(ours, theirs, pair, found[pair], min_coverage)
    if unclear:
        raise InputError(
            f"{len(unclear):,} of the model's genes could each be one of several, because "
            f"their names stand more than once in {other} of the data or in the model's "
            f"{mine}: {_listed([ours[mine][i] for i in unclear])}. Leave only one of each in "
            "the data, or give Ensembl ids in a column of var if the model has them "
            "(model.gene_ids)."
        )
    missing = [ours[mine][i] or genes[i] for i in np.flatnonzero(columns < 0).tolist()]
    n_ignored = len(var) - found[pair].n_found
    return GeneMatch(columns, tuple(missing), n_ignored, other, mine, by_position=False)


def collect_gene_ids(adata: AnnData) -> tuple[str, ...] | None:
    """Ensembl ids of all genes, where the data have them.

    Those are the names in ``var_names``, or else in the column of ``var``, of which more
    than half look like ids of Ensembl; of several columns, the one with the most.

    Returns
    -------
    tuple of str or None
        One id a gene, ``""`` where a gene has none; None where there are no ids.
    """
    columns = _names_of(adata.var)
    if _mostly_ids(columns["var_names"]):
        return tuple(columns["var_names"])
    best = max(columns.values(), key=_n_ids)
    return tuple(best) if _mostly_ids(best) else None


@dataclass(frozen=True)
class _Overlap:
    """What two lists of names have in common."""

    columns: np.ndarray  # for every name of ours, its place among theirs, or -1
    unclear: list[int]  # places among ours of names that are on both lists, and on one twice

    @classmethod
    def of(cls, ours: list[str], theirs: list[str]) -> _Overlap:
        place = {name: i for i, name in enumerate(theirs) if name}
        n_ours, n_theirs = Counter(ours), Counter(theirs)
        columns = np.array([place.get(name, -1) for name in ours], np.intp)
        unclear = [
            i for i in np.flatnonzero(columns >= 0).tolist()
            if n_ours[ours[i]] > 1 or n_theirs[ours[i]] > 1
        ]  # fmt: skip
        columns[unclear] = -1
        return cls(columns, unclear)

    @property
    def n_found(self) -> int:
        return int((self.columns >= 0).sum())


def _names_of(var: pd.DataFrame) -> dict[str, list[str]]:
    """Collect the names of the genes and every column of text."""
    import pandas as pd

    names = {"var_names": [_text(name) for name in var.index]}
    for label, column in var.items():
        categorical = isinstance(column.dtype, pd.CategoricalDtype)
        kind = column.cat.categories.dtype if categorical else column.dtype
        if pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind):
            names[f"var[{label!r}]"] = [_text(name) for name in column]
    return names


def _text(name: Any) -> str:
    """Turn a name of any type into text; "" where there is none."""
    if isinstance(name, str):
        return str(name)  # NumPy has a text type of its own, which JSON does not know
    if isinstance(name, bytes):
        return name.decode(errors="replace")

    import pandas as pd

    return "" if pd.api.types.is_scalar(name) and pd.isna(name) else str(name)


def _key(name: str) -> str:
    """Give the name without the version of an Ensembl id."""
    found = _VERSION.fullmatch(name) if name.startswith("ENS") else None
    return found[1] + (found[2] or "") if found else name


def _is_id(name: str) -> bool:
    return _ID.fullmatch(_key(name)) is not None


def _n_ids(names: Sequence[str]) -> int:
    return sum(map(_is_id, names))


def _mostly_ids(names: Sequence[str]) -> bool:
    return 2 * _n_ids(names) > len(names)


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether names are those of a matrix without any: "0", "1", "2", …."""
    return all(name == str(i) for i, name in enumerate(names))


def _refuse_numbers(genes: Sequence[str], theirs: Mapping[str, list[str]]) -> None:
    """Refuse to match columns by their numbers where there are more or fewer of them."""
    columns = theirs["var_names"]
    if _are_numbers(genes) and _are_numbers(columns):
        raise InputError(
            f"Neither the model nor the data have names of genes, and the data have "
            f"{len(columns):,} columns, but the model was trained on {len(genes):,}. Give "
            f"the same {len(genes):,} genes in the order of the training."
        )


def _too_few(
    ours: Mapping[str, list[str]],
    theirs: Mapping[str, list[str]],
    pair: tuple[str, str],
    found: _Overlap,
    min_coverage: float,
) -> InputError:
    """Put the message together that lists what is missing and guesses why."""
    mine, other = pair
    genes = ours["genes"]
    missing = [ours[mine][i] or genes[i] for i in np.flatnonzero(found.columns < 0)]
    share = f"{found.n_found:,} of the model's {len(genes):,} genes"
    said = (
        f"The data have only {share} (compared: {other} of the data with {mine} of the "
        f"model), but at least {min_coverage:.4g} of them (min_coverage), and one in any case, "
        "must be there."
    )
    if _are_numbers(genes):  # whose numbers it would be of no use to list
        return MissingGenesError(f"{said} {_no_names(len(genes))}", tuple(missing))
    return MissingGenesError(
        f"{said}{_reason(ours, theirs, found.n_found)} Give data with these genes; or, if so "
        "many may be filled with 0, a lower min_coverage. Missing: "
        f"{_listed(missing)}.",
        tuple(missing),
    )


def _no_names(n_genes: int) -> str:
    return (
        'The model was trained on a matrix without names of genes, and knows them as "0" to '
        f'"{n_genes - 1}", so none can be found by name. Give the same {n_genes:,} genes in '
        "the order of the training without their names: an array or a sparse matrix, such as "
        "adata.X, or a file such as .npy. Or train a model on data with names."
    )


def _reason(
    ours: Mapping[str, list[str]], theirs: Mapping[str, list[str]], n_found: int
) -> str:
    """Guess why so few genes were found, as a sentence with its leading space."""
    genes, var_names = ours["genes"], theirs["var_names"]
    if _are_numbers(var_names):
        return (
            ' The genes of the data have no names but "0", "1", …: give data with names, as '
            ".h5ad files have them in var_names and .csv files in their first row."
        )
    model_ids = [names for names in ours.values() if _mostly_ids(names)]
    data_ids = [names for names in theirs.values() if _mostly_ids(names)]
    if model_ids and data_ids:
        mine, other = _beginning(model_ids[0]), _beginning(data_ids[0])
        if mine != other:
            return (
                f" The ids of the model begin with {mine} and those of the data with {other}, "
                "so they look like genes of two species."
            )
    if len(data_ids) == len(theirs) and not model_ids:
        return (
            f" The model knows its genes by names such as {genes[0]!r}, the data by ids such "
            f"as {var_names[0]!r}: put the names into a column of var, such as "
            "var['gene_symbols']."
        )
    if _mostly_ids(genes) and not data_ids:
        return (
            f" The model knows its genes by ids such as {genes[0]!r}, the data by names such "
            f"as {var_names[0]!r}: put the Ensembl ids into a column of var, such as "
            "var['gene_ids']."
        )
    folded = {name.casefold(): name for name in var_names}
    alike = [gene for gene in genes if gene.casefold() in folded]
    if len(alike) > n_found and 10 * len(alike) > len(genes):
        example = next(gene for gene in alike if folded[gene.casefold()] != gene)
        return (
            f" {len(alike):,} of the model's genes are there if upper and lower case are not "
            f"told apart, such as {folded[example.casefold()]!r} for {example!r}: that is how "
            "names of mouse and human genes differ, and a model holds for one species only."
        )
    return ""


def _beginning(ids: Sequence[str]) -> str:
    """Find what most ids begin with, such as ENSG or ENSMUSG."""
    letters = (re.split(r"\d", name, maxsplit=1)[0] for name in ids if _is_id(name))
    return Counter(letters).most_common(1)[0][0]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def repeated(names: Sequence[str]) -> str | None:
    """Say which names of genes stand more than once, as half a sentence; None: none does."""
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names, start=1):
        places.setdefault(str(name), []).append(i)
    twice = {name: at for name, at in places.items() if len(at) > 1}
    if not twice:
        return None
    name, at = next(iter(twice.items()))
    many = f"{len(twice):,} names stand" if len(twice) > 1 else "1 name stands"
    return f"{many} more than once, such as {name!r} at {at[0]:,} and {at[1]:,}"
