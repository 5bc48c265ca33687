"""Turns a checked matrix into what the network is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy import sparse

from cellglass.checks import check_choice, check_largest, check_range
from cellglass.errors import InputError
from cellglass.matrices import row_chunks, to_csr

INPUTS = ("auto", "counts", "log")

# log(1 + x) of a cell scaled to 10,000 counts never exceeds 9.2, and of any count that
# a sequencer has ever given stays below 20: beyond 30 no logarithm was taken.
LARGEST_LOG = 30.0


def _nonzero(X: Any) -> sparse.csr_matrix:
    """Bring a sparse matrix to canonical CSR without stored zeros.

    It may share its arrays with the caller's, so it is copied before a change.
    """
    X = to_csr(X)
    if not np.all(X.data):
        X = X.copy()
        X.eliminate_zeros()
    return X


def _chunks(X: Any) -> Iterator[tuple[int, int, sparse.csr_matrix]]:
    """Yield runs of rows as canonical CSR.

    A dense matrix and its CSR twin give the very same arrays here, so that whatever is
    computed from them, sums of fractions included, is the same to the last bit.
    """
    if sparse.issparse(X):
        X = to_csr(X)
    for start, stop in row_chunks(X):
        chunk = X[start:stop]
        if not sparse.issparse(chunk):
            chunk = np.asarray(chunk)
            # SciPy's sparse matrices hold neither 16-bit floats nor foreign byte orders.
            dtype = chunk.dtype.newbyteorder("=")
            wanted = np.float32 if dtype == np.float16 else dtype
            chunk = sparse.csr_matrix(chunk.astype(wanted, copy=False))
        yield start, stop, _nonzero(chunk)


@dataclass(frozen=True)
class _Scan:
    """What one look at every value found out."""

    n_values: int  # zeros included
    n_nonzero: int
    n_fractions: int
    first_fraction: tuple[int, int, float] | None  # row, column (from 0), value
    largest: float
    negative: bool


def _scan(X: Any) -> _Scan:
    """Look at every value once, run of rows after run of rows."""
    n_nonzero = n_fractions = 0
    first: tuple[int, int, float] | None = None
    largest = 0.0
    negative = False
    for start, _, chunk in _chunks(X):
        values = chunk.data
        if not values.size:
            continue
        n_nonzero += values.size
        largest = max(largest, float(values.max()))
        negative = negative or bool(values.min() < 0)
        if values.dtype.kind != "f":
            continue
        fractions = np.flatnonzero(values != np.floor(values))
        n_fractions += fractions.size
        if fractions.size and first is None:
            at = fractions[0]
            row = start + int(np.searchsorted(chunk.indptr, at, side="right")) - 1
            first = row, int(chunk.indices[at]), float(values[at])
    n_values = int(X.shape[0]) * int(X.shape[1])
    return _Scan(n_values, n_nonzero, n_fractions, first, largest, negative)


def holds_whole_numbers(X: Any) -> bool:
    """Whether every value of a matrix, dense or sparse, is a whole number of at least 0."""
    scan = _scan(X)
    return scan.n_fractions == 0 and not scan.negative


def _percent(part: int, whole: int) -> str:
    """Write a share with one decimal, but never a 0 or a 100 that is not true."""
    share = 100 * part / whole
    if 0 < share < 0.05:
        return "less than 0.1 %"
    if 99.95 <= share < 100:
        return "more than 99.9 %"
    return f"{share:.1f} %"


def _finding(scan: _Scan) -> str:
    """Say what the values look like, as the first half of a sentence."""
    if scan.first_fraction is not None:
        row, column, value = scan.first_fraction
        return (
            f"{_percent(scan.n_fractions, scan.n_nonzero)} of the non-zero values are not "
            f"whole numbers (first: {value:.4g} at cell {row + 1:,}, gene {column + 1:,})"
        )
    if scan.negative:
        return f"all {scan.n_values:,} values are whole numbers, but some are negative"
    return f"all {scan.n_values:,} values are whole numbers (largest {scan.largest:,.0f})"


@dataclass(frozen=True)
class Preprocessor:
    """The step from the matrix as given to the matrix as trained on.

    Made by :meth:`fit`, saved with the model, and applied unchanged to new cells.
    Each cell is transformed by itself: no other cell has a say in its values.

    Parameters
    ----------
    input : {"counts", "log"}
        What the values are: raw counts, or already log-normalised.
    detected : bool, default False
        True where a scan of the values decided, False where the caller did.
    reason : str, default ""
        One sentence, without its full stop, on what the scan saw and what follows.
    target_sum : float, default 1e4
        Total that every cell's counts are scaled to; not used with ``input="log"``.
    warnings : tuple of str, default ()
        One sentence for each thing about the values that looks odd.

    Raises
    ------
    InputError
        If ``input`` is another word, or ``target_sum`` is no number above 0.
    """

    input: str
    detected: bool = False
    reason: str = ""
    target_sum: float = 1e4
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("input", self.input, INPUTS[1:])
        check_range("target_sum", self.target_sum, low=0, low_inclusive=False)

    @classmethod
    def fit(
        cls,
        X: Any,
        input: str = "auto",  # noqa: A002 - the same word in API, command line and report
        *,
        target_sum: float = 1e4,
    ) -> Preprocessor:
        """Find out what the values are, by looking at all of them.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_cells, n_genes)
            Raw counts or log-normalised values that passed
            :func:`cellglass.checks.check_matrix`. Never modified.
        input : {"auto", "counts", "log"}, default "auto"
            ``"auto"`` takes the matrix as raw counts where every value is a whole
            number of at least 0, and as log-normalised otherwise. The other two are
            taken at their word, with a warning where the values speak against it.
        target_sum : float, default 1e4
            Total that every cell's counts are scaled to.

        Returns
        -------
        Preprocessor
            With ``detected`` true only for ``"auto"``.

        Raises
        ------
        InputError
            If ``input`` is another word, or a value fails
            :func:`cellglass.checks.check_largest`.
        """
        check_choice("input", input, INPUTS)
        scan = _scan(X)
        whole = scan.n_fractions == 0 and not scan.negative
        detected = input == "auto"
        kind = ("counts" if whole else "log") if detected else input
        check_largest(X, counts=kind == "counts")
        noun = "raw counts" if kind == "counts" else "log-normalised"
        if not detected:
            reason = f'input="{kind}" was given, so the matrix was taken as {noun}; '
            reason += _finding(scan)
        elif whole:
            reason = f"{_finding(scan)}, so they were taken as raw counts"
        else:
            reason = f"{_finding(scan)}, so the matrix was taken as log-normalised"
        return cls(
            input=kind,
            detected=detected,
            reason=reason,
            target_sum=float(target_sum) if isinstance(target_sum, int) else target_sum,
            warnings=tuple(_oddities(kind, detected, whole, scan)),
        )

    def transform(self, X: Any) -> Any:
        """Give the values that the network sees.

        ``"log"``: the values as they are. ``"counts"``: each value is divided by its
        cell's total, multiplied by ``target_sum``, and log(1 + x) is taken, in 64-bit
        floating point; a cell without counts stays zero. A dense matrix and a sparse
        one with the same values give the same values, to the last bit.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_cells, n_genes)
            The same kind of values as in :meth:`fit`. Never modified.

        Returns
        -------
        numpy.ndarray or scipy.sparse.csr_matrix, float32, shape (n_cells, n_genes)
            Log-normalised values, dense (C-contiguous) for a dense matrix, CSR (sorted
            indices, no stored zeros) for a sparse one. With ``"log"`` the result may
            share its memory with ``X``: do not write to it.

        Raises
        ------
        InputError
            If a value fails :func:`cellglass.checks.check_largest`.
        """
        if sparse.issparse(X):
            X = to_csr(X)
        check_largest(X, counts=self.input == "counts")
        if self.input == "counts":
            return self._from_counts(X)
        if not sparse.issparse(X):
            return np.ascontiguousarray(X, dtype=np.float32)
        # The cast may round a tiny value to zero, so it comes before zeros are removed.
        return _nonzero(X.astype(np.float32, copy=False))

    def size_factors(self, X: Any) -> np.ndarray | None:
        """Total counts of every cell over the total that all are scaled to.

        Parameters
        ----------
        X : array or sparse matrix, shape (n_cells, n_genes)
            The same kind of values as in :meth:`fit`.

        Returns
        -------
        numpy.ndarray or None
            Shape (n_cells,), float64, 0 for a cell without counts; None with ``"log"``,
            where the totals are not known.
        """
        if self.input != "counts":
            return None
        if sparse.issparse(X):
            X = to_csr(X)
        totals = np.zeros(X.shape[0])
        for start, stop, chunk in _chunks(X):
            # SciPy adds in the type of the values, whatever type it is asked to give.
            totals[start:stop] = np.asarray(chunk.astype(np.float64).sum(axis=1)).ravel()
        return totals / self.target_sum

    def _from_counts(self, X: Any) -> Any:
        """Normalise, scale and take the logarithm, run of rows after run of rows."""
        dense = None if sparse.issparse(X) else np.zeros(X.shape, dtype=np.float32)
        parts = []
        for start, stop, chunk in _chunks(X):
            rows = np.repeat(np.arange(stop - start), np.diff(chunk.indptr))
            # bincount adds in 64 bits, value after value: exact for counts, and in an
            # order that is the row's own, whatever rows stand around it.
            counts = chunk.data.astype(np.float64)
            totals = np.bincount(rows, weights=counts, minlength=stop - start)
            scaled = counts / totals[rows] * self.target_sum
            values = np.log1p(scaled).astype(np.float32)
            if dense is not None:
                dense[start:stop][rows, chunk.indices] = values
            else:
                part = (values, chunk.indices, chunk.indptr)
                parts.append(sparse.csr_matrix(part, shape=chunk.shape))
        if dense is not None:
            return dense
        return _nonzero(sparse.vstack(parts, format="csr"))

    def to_dict(self) -> dict[str, Any]:
        """Hand over all fields as plain, JSON-able values.

        Returns
        -------
        dict
            Field name → str, bool, float or list of str.
        """
        return {**asdict(self), "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Preprocessor:
        """Make a preprocessor from what :meth:`to_dict` gave.

        Parameters
        ----------
        state : mapping
            Only ``"input"`` must be there: fields that an older version did not write
            take their defaults, and fields of a newer one are left aside.

        Returns
        -------
        Preprocessor
            Equal to the one that was written.

        Raises
        ------
        InputError
            If ``"input"`` is not there, or a value is not allowed.
        """
        if "input" not in state:
            raise InputError(
                "The saved preprocessing does not say whether it expects raw counts or "
                f"log-normalised values: 'input' is missing from {sorted(state)}. Save the "
                "model again with the version that trained it."
            )
        known = {field.name: state[field.name] for field in fields(cls) if field.name in state}
        return cls(**{**known, "warnings": tuple(known.get("warnings", ()))})


def _oddities(kind: str, detected: bool, whole: bool, scan: _Scan) -> Iterator[str]:
    """Yield a sentence for each thing that is odd in values taken as this."""
    if not scan.n_nonzero:
        yield (
            "Every value of the matrix is 0, so there is nothing to tell cells apart by. Look "
            "at the step that wrote it, or see whether the values are in another layer."
        )
        return
    if kind == "counts" and not whole:
        yield (
            f'input="counts" was given, but {_finding(scan)}. Raw counts are whole numbers '
            'of at least 0: if the matrix is log-normalised, give input="log".'
        )
    if kind == "log" and whole and not detected:
        yield (
            f'input="log" was given, but {_finding(scan)}, as in raw counts: if they are, '
            'give input="counts".'
        )
    if kind == "log" and scan.largest > LARGEST_LOG:
        yield (
            f"The matrix was taken as log-normalised, but its largest value is "
            f"{scan.largest:,.6g}, and log-normalised values stay below {LARGEST_LOG:.0f}: "
            "it looks normalised but not log-transformed. Give raw counts, or take "
            "log(1 + x) first."
        )
