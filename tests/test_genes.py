"""Genes are found by name whatever their order, and never mistaken for one another."""

import warnings

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cellglass.errors import InputError, MissingGenesError
from cellglass.genes import collect_gene_ids, match_genes
from cellglass.model import Model
from cellglass.network import AutoencoderNetwork
from cellglass.preprocess import Preprocessor

IDS = tuple(f"ENSG{i:011d}" for i in range(1, 7))
SYMBOLS = ("CD3E", "MS4A1", "NKG7", "LYZ", "PPBP", "RP11-34P13.7")
X = np.random.default_rng(0).poisson(2, (9, 6)).astype(np.float32)
NETWORK = AutoencoderNetwork(6, 2, n_hidden=4, n_layers=1, key=jax.random.key(3))


def model(genes=SYMBOLS, gene_ids=None) -> Model:
    return Model(
        network=NETWORK,
        loss="mse", genes=tuple(genes), preprocessor=Preprocessor("counts", detected=True),
        settings={}, history={}, gene_ids=gene_ids,
    )  # fmt: skip


def var(names, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(list(names)))


def refusal(*args, **kwargs) -> str:
    with pytest.raises(InputError) as error:
        match_genes(*args, **kwargs)
    return str(error.value)


# --- the same cells give the same latent vectors --------------------------------------


@st.composite
def rearranged(draw):
    """Columns of the same cells in any order, among any other genes, with any versions."""
    order = draw(st.permutations(range(len(IDS))))
    versions = draw(st.lists(st.integers(0, 99) | st.none(), min_size=6, max_size=6))
    others = draw(st.integers(0, 4))
    places = draw(st.permutations(range(len(IDS) + others)))
    names = [IDS[i] if v is None else f"{IDS[i]}.{v}" for i, v in zip(order, versions)]  # noqa: B905
    names += [f"ENSG9{i:010d}" for i in range(others)]
    values = np.hstack([X[:, order], np.full((len(X), others), 7, np.float32)])
    return values[:, places], [names[i] for i in places]


@settings(deadline=None, max_examples=60)
@given(rearranged(), st.sampled_from([np.array, sparse.csr_matrix, sparse.csc_matrix]))
def test_any_order_any_other_genes_and_any_versions_give_the_same_latent_vectors(given, kind):
    values, names = given
    adata = anndata.AnnData(kind(values), var=var(names))
    Z = model(IDS).transform(adata)
    np.testing.assert_array_equal(Z, model(IDS).transform(X))


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 5), max_size=5))
def test_missing_genes_count_as_zero(lost):
    kept = [i for i in range(6) if i not in lost]
    adata = anndata.AnnData(X[:, kept], var=var([SYMBOLS[i] for i in kept]))
    zeroed = X.copy()
    zeroed[:, list(lost)] = 0
    match = model().match(adata, min_coverage=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Z = model().transform(adata, min_coverage=0)
    np.testing.assert_array_equal(Z, model().transform(zeroed))
    assert [str(one.message) for one in told] == ([match.warning()] if lost else [])
    assert match.missing == tuple(SYMBOLS[i] for i in sorted(lost))
    assert match.n_found == len(kept)
    assert match.coverage == len(kept) / 6


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_columns_taken_from_csr_equal_those_from_a_dense_matrix(dtype):
    match = match_genes(var([*SYMBOLS[::-1][:4], "other", SYMBOLS[0]]), SYMBOLS)
    dense, taken = match.take(X.astype(dtype)), match.take(sparse.csr_matrix(X.astype(dtype)))
    expected = np.column_stack([X[:, 5], np.zeros(9), X[:, 3], X[:, 2], X[:, 1], X[:, 0]])
    np.testing.assert_array_equal(dense, expected)
    np.testing.assert_array_equal(taken.toarray(), expected)
    assert dense.dtype == taken.dtype == dtype
    assert all(np.all(np.diff(row.indices) > 0) for row in taken)


# --- which names are compared ---------------------------------------------------------

CASES = {
    "10x: symbols, ids beside": (var(SYMBOLS, gene_ids=IDS), "var_names", "genes"),
    "cellxgene: ids, symbols beside": (
        var(IDS, feature_name=SYMBOLS), "var_names", "gene_ids"
    ),
    "ids, with symbols of which one is another": (
        var(IDS, feature_name=[*SYMBOLS[:5], "other"]), "var_names", "gene_ids"
    ),
    "ids only": (var(IDS), "var_names", "gene_ids"),
    "ids with versions": (var([f"{i}.3" for i in IDS]), "var_names", "gene_ids"),
    "other names, ids beside": (var("uvwxyz", id=IDS), "var['id']", "gene_ids"),
    "other names, symbols as categories": (
        var("uvwxyz", feature_name=pd.Categorical(SYMBOLS)), "var['feature_name']", "genes"
    ),
    "symbols as bytes": (
        var("uvwxyz", symbol=[name.encode() for name in SYMBOLS]), "var['symbol']", "genes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_names_that_fit_best_are_compared(case):
    table, names_from, matched_with = CASES[case]
    order = [3, 1, 5, 0, 2, 4]
    match = match_genes(table.iloc[order], SYMBOLS, IDS)
    assert (match.names_from, match.matched_with) == (names_from, matched_with)
    np.testing.assert_array_equal(match.columns, np.argsort(order))
    assert match.missing == () and match.n_ignored == 0 and not match.by_position


def test_symbols_beside_ids_serve_a_model_that_has_symbols_only():
    match = match_genes(var(IDS, feature_name=SYMBOLS).iloc[::-1], SYMBOLS)
    assert match.names_from == "var['feature_name']"
    np.testing.assert_array_equal(match.columns, [5, 4, 3, 2, 1, 0])


def test_ids_that_find_more_genes_go_before_var_names():
    names = [*SYMBOLS[:5], "other"]
    match = match_genes(var(names, gene_ids=IDS[::-1]).iloc[::-1], SYMBOLS, IDS)
    assert match.names_from == "var['gene_ids']" and match.n_found == 6


def test_other_text_counts_only_where_names_and_ids_find_too_few():
    # A column that speaks of genes may say something else than what a gene is called.
    neighbours = [*SYMBOLS[1:], SYMBOLS[0]]
    table = var([*SYMBOLS[:5], "other"], upstream=neighbours)
    match = match_genes(table, SYMBOLS)
    assert match.names_from == "var_names" and match.missing == (SYMBOLS[5],)
    assert match_genes(table, SYMBOLS, min_coverage=0.9).names_from == "var['upstream']"
    same = var(["a", "b", "c"], upstream=["a", "c", "b"])
    assert match_genes(same.iloc[::-1], ["b", "c", "a"]).names_from == "var_names"


def test_of_equally_good_names_var_names_against_genes_go_first():
    table = var(SYMBOLS[::-1], a=SYMBOLS[::-1], b=IDS[::-1])
    match = match_genes(table, SYMBOLS, IDS)
    assert (match.names_from, match.matched_with) == ("var_names", "genes")


def test_the_names_of_raw_are_those_of_raw():
    adata = anndata.AnnData(X[:, ::-1].copy(), var=var(SYMBOLS[::-1]))
    adata.raw = adata.copy()
    adata = adata[:, :2].copy()
    assert model().match(adata, use_raw=True).n_found == 6
    np.testing.assert_array_equal(model().transform(adata, use_raw=True), model().transform(X))
    with pytest.raises(InputError, match="min_coverage"):
        model().match(adata)


@pytest.mark.parametrize(
    "column",
    [
        [np.nan] * 6,
        [np.nan, "CD3E", None, 3, b"\xff", 2.5],
        [["list"], {"a": 1}, ("t",), pd.NA, pd.NaT, np.array([1, 2])],
        pd.Categorical([1, 2, 3, 1, 2, 3]),
        pd.Categorical([None, *"abcde"]),
        pd.array(["a", None, "c", "d", "e", "f"], dtype="string"),
        [1.5, np.nan, 3, 4, 5, 6],
        pd.to_datetime(["2020-01-01"] * 6),
        [True, False] * 3,
    ],
    ids=["nan", "mixed", "objects", "numbers", "none", "string", "float", "time", "bool"],
)
def test_columns_of_any_type_do_no_harm(column):
    table = pd.DataFrame(
        {"odd": pd.Series(column, index=SYMBOLS, dtype=getattr(column, "dtype", None)), 7: 1}
    )
    match = match_genes(table.iloc[::-1], SYMBOLS, IDS)
    assert match.names_from == "var_names" and match.n_found == 6
    adata = anndata.AnnData(X, var=table.rename(columns=str))
    assert collect_gene_ids(adata) is None


def test_genes_without_a_name_are_never_found():
    table = var("uvwxyz", gene_ids=["", np.nan, None, *IDS[3:]])
    match = match_genes(table, SYMBOLS, ("", "", "", *IDS[3:]), min_coverage=0.5)
    np.testing.assert_array_equal(match.columns, [-1, -1, -1, 3, 4, 5])
    assert match.missing == SYMBOLS[:3]


# --- versions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["ENSG00000139618", "ENSMUSG00000017167", "ENSDARG00000024771", "ENSSSCG00000012345"],
)
def test_versions_of_ensembl_ids_are_left_aside_on_both_sides(name):
    for theirs, ours in ((f"{name}.15", name), (name, f"{name}.2"), (f"{name}.1", f"{name}.9")):
        assert match_genes(var(["x", theirs]), [ours]).columns.tolist() == [1]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Y48G1C.2", "Y48G1C.12"),
        ("Y48G1C.2", "Y48G1C"),
        ("RP11-34P13.7", "RP11-34P13.8"),
        ("AC012345.1", "AC012345"),
        ("ENSG00000182378.15_PAR_Y", "ENSG00000182378.15"),
        ("ENSG00000182378_PAR_Y", "ENSG00000182378"),
        ("ENSG00000139618", "ENSG00000139619"),
        ("ENSG0000013961.8", "ENSG00000139618"),
        ("ENSEMBLE.1", "ENSEMBLE"),
    ],
)
def test_different_genes_stay_different(ours, theirs):
    assert "0 of the model's 1 genes" in refusal(var([theirs]), [ours])


def test_the_par_copy_on_y_is_found_whatever_its_version():
    names = ["ENSG00000182378.14", "ENSG00000182378.14_PAR_Y"]
    match = match_genes(var(names), ["ENSG00000182378_PAR_Y", "ENSG00000182378.2"])
    assert match.columns.tolist() == [1, 0]


# --- what is refused ------------------------------------------------------------------


def test_identical_names_in_identical_order_go_by_position_even_where_they_repeat():
    genes = ("a", "b", "a", "", "")
    match = match_genes(var(genes), genes)
    assert match.by_position and match.columns.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("names", "genes", "listed"),
    [
        (["a", "b", "c", "b"], ["a", "b", "c"], "b"),
        (["c", "b", "a"], ["a", "b", "b", "c"], "b, b"),
        ([f"{IDS[0]}.1", f"{IDS[0]}.2", IDS[1]], IDS[:2], IDS[0]),
    ],
    ids=["in the data", "in the model", "without versions"],
)
def test_a_gene_that_could_be_one_of_several_is_refused_by_name(names, genes, listed):
    message = refusal(var(names), genes)
    assert "one of several" in message and f": {listed}." in message


def test_repeated_names_that_the_model_does_not_have_do_no_harm():
    match = match_genes(var(["x", "x", "b", "a"]), ["a", "b"])
    assert match.columns.tolist() == [3, 2] and match.n_ignored == 2


def test_ids_decide_where_symbols_repeat():
    repeated = ["CD3E", "CD3E", *SYMBOLS[2:]]
    match = match_genes(var(repeated, gene_ids=IDS).iloc[::-1], repeated, IDS)
    assert match.matched_with == "gene_ids" and match.columns.tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("n_genes", [3, 7, 10, 100])
def test_a_share_of_exactly_min_coverage_is_enough_and_one_gene_less_is_not(n_genes):
    genes = [f"g{i}" for i in range(n_genes)]
    for n in range(2, n_genes + 1):
        table = var([*genes[:n], "other"])
        assert match_genes(table, genes, min_coverage=n / n_genes).n_found == n
        assert "min_coverage" in refusal(var(genes[: n - 1]), genes, min_coverage=n / n_genes)


def test_at_least_one_gene_must_be_there_whatever_min_coverage():
    assert "0 of the model's 2 genes" in refusal(var(["x"]), ["a", "b"], min_coverage=0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "all", None, True])
def test_min_coverage_must_be_a_share(value):
    assert "min_coverage" in refusal(var(SYMBOLS), SYMBOLS, min_coverage=value)


def test_eight_tenths_must_be_there_unless_another_share_is_given():
    genes = [f"g{i}" for i in range(10)]
    assert match_genes(var(genes[:8]), genes).n_found == 8
    refusal(var(genes[:7]), genes)
    many = Model(
        network=AutoencoderNetwork(10, 2, n_hidden=4, n_layers=1, key=jax.random.key(3)),
        loss="mse", genes=tuple(genes), preprocessor=Preprocessor("counts", detected=True),
        settings={}, history={},
    )  # fmt: skip
    for call in (many.match, many.transform, many.reconstruct):
        with pytest.raises(MissingGenesError):
            call(anndata.AnnData(np.ones((3, 7), np.float32), var=var(genes[:7])))


def test_all_missing_genes_are_in_the_error():
    genes = [f"g{i}" for i in range(150)]
    with pytest.raises(MissingGenesError) as error:
        match_genes(var(["g0"]), genes)
    assert error.value.missing == tuple(genes[1:])


@pytest.mark.parametrize(("lost", "words"), [
    (1, "1 of the model's 6 genes is missing in var_names of the data (CD3E) and counts"),
    (2, "2 of the model's 6 genes are missing in var_names of the data (CD3E, MS4A1) and"),
])  # fmt: skip
def test_genes_that_are_filled_in_are_counted_in_a_warning(lost, words):
    adata = anndata.AnnData(X[:, lost:], var=var(SYMBOLS[lost:]))
    for call in (model().transform, model().reconstruct):
        with pytest.warns(UserWarning) as told:
            call(adata, min_coverage=0.5)
        assert words in str(told[0].message) and told[0].filename == __file__


def test_a_hundred_missing_genes_are_listed_and_of_more_the_number_is_said():
    genes = [f"g{i}" for i in range(150)]
    message = refusal(var(["g0"]), genes)
    assert "g1, g2, " in message and "g100 and 49 more" in message and "g101" not in message
    message = refusal(var(genes[:50]), genes)
    assert "g149." in message and "more" not in message.split("Missing")[1].split(".")[0]


@pytest.mark.parametrize(
    ("table", "genes", "words"),
    [
        (var(["Cd3e", "Ms4a1"]), ["CD3E", "MS4A1", "NKG7"], ["upper and lower", "Cd3e"]),
        (var(SYMBOLS), [str(i) for i in range(6)], ['"0" to "5"', "order of the training"]),
        (var([str(i) for i in range(6)]), SYMBOLS, ["no names", "first row"]),
        (var(map(str, range(5))), list(map(str, range(6))), ["5 columns", "6 genes"]),
        (var(IDS), SYMBOLS, ["by names", "'CD3E'", IDS[0], "var['gene_symbols']"]),
        (var(SYMBOLS), IDS, ["by ids", IDS[0], "'CD3E'", "var['gene_ids']"]),
        (var([i.replace("G", "MUSG") for i in IDS]), IDS, ["ENSG", "ENSMUSG", "two species"]),
    ],
    ids=[
        "case", "numbers in the model", "in the data", "in both", "symbols in the model",
        "ids in the model", "species",
    ],
)  # fmt: skip
def test_too_few_genes_come_with_a_guess_at_the_reason(table, genes, words):
    message = refusal(table, genes)
    for word in words:
        assert word in message


# --- in words -------------------------------------------------------------------------


def test_a_match_is_described_in_one_paragraph():
    genes = [f"ENSG{i:011d}" for i in range(2000)]
    ids = [*genes[:1873], *(f"ENSG9{i:010d}" for i in range(31000))]
    match = match_genes(var([f"s{i}" for i in range(32873)], gene_ids=ids), genes)
    assert match.describe() == (
        "1,873 of the model's 2,000 genes found by their names (var['gene_ids']); "
        "127 missing, filled with 0; 31,000 others not used."
    )
    match = match_genes(var(IDS), SYMBOLS, IDS)
    assert (
        "6 of the model's 6 genes found by their Ensembl ids (var_names)." in match.describe()
    )
    assert "in the model's order" in match_genes(var(SYMBOLS), SYMBOLS).describe()


# --- ids for a new model --------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (var(SYMBOLS, gene_ids=IDS), IDS),
        (var(SYMBOLS, n=range(6), other="x", gene_ids=pd.Categorical(IDS)), IDS),
        (var(SYMBOLS, gene_ids=[*IDS[:4], None, np.nan]), (*IDS[:4], "", "")),
        (var(IDS, feature_name=SYMBOLS), IDS),
        (var(IDS), IDS),
        (var([f"{i}.7" for i in IDS]), tuple(f"{i}.7" for i in IDS)),
        (var(SYMBOLS, few=[*IDS[:4], "", ""], all=IDS), IDS),
        (var([f"WBGene{i:08d}" for i in range(6)]), tuple(f"WBGene{i:08d}" for i in range(6))),
        (var(SYMBOLS), None),
        (var(SYMBOLS, gene_ids=[*IDS[:3], "a", "b", "c"]), None),
        (var(SYMBOLS, transcript=[i.replace("G", "X") for i in IDS], chromosome="1"), None),
    ],
    ids=[
        "10x", "categories", "some without", "cellxgene", "ids only", "versions", "best column",
        "worm", "none", "half", "no ids",
    ],
)  # fmt: skip
def test_ids_are_collected_from_the_names_or_from_the_column_that_has_them(table, expected):
    assert collect_gene_ids(anndata.AnnData(X, var=table)) == expected
