"""A batch is the same whether its matrix lies dense or sparse on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cellglass.batches import DenseRows, SparseRows, on_device
from cellglass.matrices import ALIGNMENT, aligned_empty

SHAPE = (9, 6)
CELLS = jnp.array([8, 0, 3, 3])


@given(density=st.floats(0, 1), seed=st.integers(0, 2**32 - 1), empty=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_sparse_batch_is_the_dense_one_to_the_last_bit(density, seed, empty):
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=SHAPE) * (rng.random(SHAPE) < density)).astype(np.float32)
    X[1] = 1  # one longest row, and with it one compiled program for all examples
    if empty:
        X[[0, 3]] = 0
    rows = SparseRows.from_csr(sparse.csr_matrix(X))
    assert rows.shape == DenseRows(jnp.asarray(X)).shape == SHAPE
    np.testing.assert_array_equal(rows.take(CELLS), X[np.asarray(CELLS)])
    np.testing.assert_array_equal(rows.take(CELLS), DenseRows(jnp.asarray(X)).take(CELLS))


@pytest.mark.parametrize("fill", [0, 1], ids=["all-zero", "no-zero"])
def test_the_extremes_of_sparsity_are_batches_too(fill):
    X = np.full(SHAPE, fill, np.float32)
    rows = SparseRows.from_csr(sparse.csr_matrix(X))
    np.testing.assert_array_equal(rows.take(CELLS), X[np.asarray(CELLS)])


def test_a_row_padded_to_the_longest_spills_into_no_gene():
    X = np.zeros(SHAPE, np.float32)
    X[0] = 1  # the longest row; all others are padding alone, also at the last gene
    rows = SparseRows.from_csr(sparse.csr_matrix(X))
    np.testing.assert_array_equal(rows.take(jnp.array([1, 2])), np.zeros((2, 6)))


@pytest.mark.parametrize(
    ("budget", "kind"),
    [(9 * 6 * 4, DenseRows), (9 * 6 * 4 - 1, SparseRows), (0, SparseRows)],
    ids=["fits", "one-byte-short", "nothing-fits"],
)
def test_a_sparse_matrix_is_made_dense_only_within_the_budget(budget, kind):
    X = np.random.default_rng(0).poisson(0.5, SHAPE).astype(np.float32)
    rows = on_device(sparse.csr_matrix(X), dense_budget_bytes=budget)
    assert type(rows) is kind
    np.testing.assert_array_equal(rows.take(CELLS), X[np.asarray(CELLS)])


def test_a_dense_matrix_stays_dense_whatever_the_budget():
    X = np.ones(SHAPE)
    rows = on_device(X, dense_budget_bytes=0)
    assert type(rows) is DenseRows and rows.values.dtype == jnp.float32


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU has memory of its own")
def test_memory_is_shared_only_where_that_was_allowed_and_it_is_aligned():
    X = aligned_empty((300, 7), np.dtype(np.float32))
    X[:] = 1
    copied, shared = on_device(X), on_device(X, may_share=True)
    X[:] = 2
    assert float(copied.values.max()) == 1
    assert float(shared.values.min()) == 2  # so whoever allows it must leave X as it is
    assert X.ctypes.data % ALIGNMENT == 0 and X.shape == (300, 7) and X.flags.writeable
