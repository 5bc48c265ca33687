"""What is simulated follows the formulas that the module states."""

import sys

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from cellglass.errors import InputError
from cellglass.simulate import check_simulation_folder, simulate, write_simulation

SMALL = {"n_cells": 60, "n_genes": 40, "n_groups": 3}


@pytest.fixture(scope="module")
def default():
    return simulate()


@pytest.fixture(scope="module")
def many_draws():
    """4000 cells alike, so that each gene's counts are 4000 draws from one distribution."""
    return simulate(4000, 50, 1, library_size_sigma=0, dispersion=0.4, mean_library_size=300)


def assert_same(one, two):
    np.testing.assert_array_equal(one.X, two.X)
    assert set(one.layers) == set(two.layers) == {"counts", "true_counts", "true_mean"}
    for layer in one.layers:
        np.testing.assert_array_equal(one.layers[layer], two.layers[layer])
        assert one.layers[layer].dtype == two.layers[layer].dtype
    assert one.obs.equals(two.obs)
    assert one.var.equals(two.var)
    assert set(one.uns["simulation"]) == set(two.uns["simulation"])
    for name, value in one.uns["simulation"].items():
        np.testing.assert_array_equal(value, two.uns["simulation"][name])


def kmeans_ari(adata, n_components):
    pca = PCA(n_components, svd_solver="randomized", random_state=0)
    found = KMeans(3, n_init=3, random_state=0).fit_predict(pca.fit_transform(adata.X))
    return adjusted_rand_score(adata.obs["label"], found)


def test_the_same_random_state_gives_the_same_cells():
    assert_same(simulate(**SMALL, random_state=3), simulate(**SMALL, random_state=3))


def test_another_random_state_gives_other_cells():
    one, two = simulate(**SMALL, random_state=3), simulate(**SMALL, random_state=4)
    assert not np.array_equal(one.layers["true_counts"], two.layers["true_counts"])
    assert not one.obs["label"].equals(two.obs["label"])
    assert not one.var["marker_of"].equals(two.var["marker_of"])
    assert not one.var["mean"].equals(two.var["mean"])


def test_numpys_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = simulate(**SMALL)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert_same(one, simulate(**SMALL))


def test_one_option_leaves_the_other_draws_as_they_were():
    plain, dropped = simulate(**SMALL, dropout_rate=0), simulate(**SMALL, dropout_rate=0.5)
    np.testing.assert_array_equal(plain.layers["true_counts"], dropped.layers["true_counts"])
    np.testing.assert_array_equal(plain.layers["counts"], plain.layers["true_counts"])
    stronger = simulate(**SMALL, marker_log_fold_change=3)
    assert plain.obs.equals(stronger.obs)
    assert plain.var.equals(stronger.var)


def test_defaults_look_like_the_assignments_data(default):
    assert default.shape == (5000, 1000)
    assert default.obs["label"].value_counts().to_dict() == {
        "0": 1667,
        "1": 1667,
        "2": 1666,
    }
    assert 0.6 < np.mean(default.X == 0) < 0.8
    assert default.layers["counts"].sum(axis=1).min() > 0
    assert 0.9 < kmeans_ari(default, 50) < 0.99


def test_types_are_as_documented(default):
    assert isinstance(default.X, np.ndarray)
    assert default.X.dtype == np.float32
    assert default.layers["counts"].dtype == np.int32
    assert default.layers["true_counts"].dtype == np.int32
    assert default.layers["true_mean"].dtype == np.float32
    assert list(default.obs["label"].cat.categories) == ["0", "1", "2"]
    assert set(default.var["marker_of"]) == {"", "0", "1", "2"}
    assert default.uns["simulation"]["dropout_rate"] == 0.3


def test_groups_beyond_ten_are_in_the_order_of_their_numbers():
    adata = simulate(36, 100, 12)
    assert list(adata.obs["label"].cat.categories) == [str(i) for i in range(12)]


def test_cells_come_in_random_order(default):
    codes = default.obs["label"].cat.codes.to_numpy()
    # In random order two neighbours share a group with probability 1/3, ± 0.0067.
    assert np.mean(codes[1:] == codes[:-1]) == pytest.approx(1 / 3, abs=0.03)


def test_counts_have_the_mean_and_variance_of_the_negative_binomial(many_draws):
    counts = many_draws.layers["true_counts"].astype(float)
    mean = many_draws.layers["true_mean"][0].astype(float)
    np.testing.assert_allclose(mean, many_draws.var["mean"], rtol=1e-6)
    variance = mean + 0.4 * mean**2
    n = len(counts)
    z = (counts.mean(axis=0) - mean) / np.sqrt(variance / n)
    assert np.abs(z).max() < 4.5
    # Squared deviations from the known mean are unbiased for the variance; their own
    # spread gives the standard error.
    squares = (counts - mean) ** 2
    z = (squares.mean(axis=0) - variance) / (squares.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 5
    assert np.abs(z.mean()) < 4.5 / np.sqrt(len(mean))


def test_counts_follow_scipys_negative_binomial(many_draws):
    from scipy.stats import nbinom

    mean = many_draws.var["mean"].to_numpy()
    observed = (many_draws.layers["true_counts"] <= 3).mean(axis=0)
    expected = nbinom.cdf(3, 1 / 0.4, 1 / (1 + 0.4 * mean))
    error = np.sqrt(expected * (1 - expected) / many_draws.n_obs)
    assert np.abs((observed - expected) / error).max() < 4.5


def test_dispersion_zero_is_poisson():
    adata = simulate(4000, 20, 1, library_size_sigma=0, dispersion=0, mean_library_size=100)
    counts = adata.layers["true_counts"].astype(float)
    ratio = counts.var(axis=0) / adata.var["mean"].to_numpy()
    # Var of the ratio is about (2 + 1/mean)/n; means are about 1 and more.
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(4 / 4000)
    nearly = simulate(
        4000, 20, 1, library_size_sigma=0, dispersion=1e-12, mean_library_size=100
    )
    np.testing.assert_array_equal(nearly.layers["true_counts"], counts)


def test_library_sizes_are_log_normal_with_the_stated_mean(default):
    size = default.obs["library_size"].to_numpy()
    error = np.sqrt(np.expm1(0.35**2) / len(size))
    assert size.mean() / 1000 == pytest.approx(1, abs=4 * error)
    assert np.log(size).std() == pytest.approx(0.35, rel=0.04)
    plain = simulate(500, 200, 1, dispersion=0)
    np.testing.assert_allclose(
        plain.layers["true_mean"].sum(axis=1), plain.obs["library_size"], rtol=1e-5
    )


def test_gene_means_are_log_normal_with_the_stated_spread(default):
    assert np.log(default.var["mean"]).std() == pytest.approx(1.0, rel=0.1)
    assert default.var["mean"].sum() == pytest.approx(1000)
    flat = simulate(**SMALL, gene_mean_sigma=0)
    np.testing.assert_allclose(flat.var["mean"], 1000 / 40)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.75], ids=["none", "some", "most"])
def test_dropout_hits_the_stated_fraction_of_counts(rate):
    adata = simulate(500, 400, dropout_rate=rate)
    before, after = adata.layers["true_counts"], adata.layers["counts"]
    there = before > 0
    dropped = (after == 0)[there]
    error = np.sqrt(rate * (1 - rate) / there.sum())
    assert abs(dropped.mean() - rate) <= 4 * error
    np.testing.assert_array_equal(after[after > 0], before[after > 0])
    # Large counts are lost as often as small ones.
    large = before >= np.quantile(before[there], 0.9)
    error = np.sqrt(rate * (1 - rate) / large.sum())
    assert abs((after == 0)[large].mean() - rate) <= 4 * error


def test_log_normalised_values_equal_scanpys(default):
    twin = ad.AnnData(default.layers["counts"].astype(np.float32))
    sc.pp.normalize_total(twin, target_sum=1e4)
    sc.pp.log1p(twin)
    np.testing.assert_allclose(default.X, twin.X, rtol=2e-6, atol=0)


def test_cells_without_counts_stay_zero():
    adata = simulate(300, 20, 2, mean_library_size=1)
    empty = adata.layers["counts"].sum(axis=1) == 0
    assert empty.any()
    assert not empty.all()
    assert np.isfinite(adata.X).all()
    assert not adata.X[empty].any()


@pytest.mark.parametrize("fold", [2.0, -1.5], ids=["up", "down"])
def test_markers_differ_between_groups_by_the_stated_fold_change(fold):
    adata = simulate(
        6000, 100, 3, marker_log_fold_change=fold, mean_library_size=5000, dropout_rate=0.1
    )
    # Dividing by the library size, not by the sum of counts: that sum holds the markers.
    scaled = adata.layers["counts"] / adata.obs["library_size"].to_numpy()[:, None]
    for name in "012":
        own = (adata.obs["label"] == name).to_numpy()
        change = np.log2(scaled[own].mean(axis=0) / scaled[~own].mean(axis=0))
        markers = (adata.var["marker_of"] == name).to_numpy()
        assert markers.sum() == 5
        # 2000 cells of φ = 1: log2 of a mean has a standard error of about 0.035.
        np.testing.assert_allclose(change[markers], fold, atol=0.2)
        none = (adata.var["marker_of"] == "").to_numpy()
        np.testing.assert_allclose(change[none], 0, atol=0.2)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"n_groups": 1}, id="one-group"),
        pytest.param({"marker_log_fold_change": 0}, id="no-fold-change"),
        pytest.param({"fraction_marker_genes": 0}, id="no-markers"),
    ],
)
def test_without_groups_or_fold_change_there_is_no_structure(options):
    adata = simulate(600, 300, random_state=1, **options)
    profile = adata.layers["true_mean"] / adata.layers["true_mean"].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(profile, np.broadcast_to(profile[0], profile.shape), rtol=1e-4)
    if options.get("n_groups") != 1:
        assert kmeans_ari(adata, 5) < 0.05
    else:
        assert set(adata.obs["label"]) == {"0"}
        assert set(adata.var["marker_of"]) == {""}


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [
        pytest.param(None, [34, 33, 33], id="equal"),
        pytest.param([0.7, 0.2, 0.1], [70, 20, 10], id="whole"),
        pytest.param((0.505, 0.293, 0.202), [51, 29, 20], id="rounded"),
        pytest.param(np.array([0.333, 0.333, 0.333]), [34, 33, 33], id="typed-thirds"),
    ],
)
def test_groups_get_their_share_of_cells(shares, sizes):
    adata = simulate(100, 100, 3, group_proportions=shares)
    assert adata.obs["label"].value_counts(sort=False).to_list() == sizes
    assert adata.uns["simulation"]["group_proportions"].sum() == pytest.approx(1)


def test_the_smallest_cases_work():
    assert simulate(1, 1, 1).shape == (1, 1)
    assert set(simulate(3, 30, 3).obs["label"]) == {"0", "1", "2"}
    assert set(simulate(50, 6, 3, fraction_marker_genes=1 / 3).var["marker_of"]) == set("012")


def test_numpy_numbers_are_numbers():
    assert_same(
        simulate(np.int64(60), np.int32(40), 3, dispersion=np.float64(1)), simulate(**SMALL)
    )


REFUSED = [
    ({"n_cells": 0}, r"n_cells is 0, .*at least 1"),
    ({"n_cells": 10.5}, r"n_cells is 10\.5, .*whole number"),
    ({"n_genes": 0}, r"n_genes is 0, .*at least 1"),
    ({"n_groups": 0}, r"n_groups is 0, .*at least 1"),
    ({"n_groups": True}, r"n_groups is True, .*whole number"),
    ({"n_groups": 61}, r"n_groups=61 is more than n_cells=60"),
    ({"random_state": -1}, r"random_state is -1, .*at least 0"),
    ({"random_state": None}, r"random_state is None, .*whole number"),
    ({"fraction_marker_genes": 1.5}, r"fraction_marker_genes is 1\.5, .*at most 1"),
    ({"fraction_marker_genes": 0.01}, r"less than one marker .*Raise it to 0\.025"),
    ({"fraction_marker_genes": 0.5}, r"20 marker genes for each of 3 .*Lower it to 0\.325"),
    ({"marker_log_fold_change": 21}, r"marker_log_fold_change is 21, .*-20 and at most 20"),
    ({"marker_log_fold_change": float("nan")}, r"marker_log_fold_change is nan"),
    ({"gene_mean_sigma": -1}, r"gene_mean_sigma is -1, .*at least 0"),
    ({"mean_library_size": 0}, r"mean_library_size is 0, .*greater than 0"),
    ({"mean_library_size": "many"}, r"mean_library_size is 'many', .*a number"),
    ({"library_size_sigma": -0.1}, r"library_size_sigma is -0\.1, "),
    ({"dispersion": -1}, r"dispersion is -1, .*at least 0"),
    ({"dispersion": float("inf")}, r"dispersion is inf, "),
    ({"dropout_rate": 1}, r"dropout_rate is 1, .*less than 1"),
    ({"dropout_rate": -0.1}, r"dropout_rate is -0\.1, .*at least 0"),
    ({"group_proportions": [0.5, 0.4, 0.2]}, r"sums to 1\.1, not to 1.*n_groups=3"),
    ({"group_proportions": [0.5, 0.5]}, r"shape \(2,\).*shape \(3,\)"),
    ({"group_proportions": [0.5, 0.6, -0.1]}, r"group_proportions\[2\] is -0\.1"),
    ({"group_proportions": [0.5, float("nan"), 0.5]}, r"group_proportions\[1\] is nan"),
    ({"group_proportions": ["half", "a", "b"]}, r"not a list of numbers"),
    ({"group_proportions": [0.5, 0.499, 0.001]}, r"leaves group 2 without .*1000 cells"),
    (
        {"n_cells": 10**12},
        r"1,000,000,000,000 × n_genes=40 .*least 2\.5 PB.*Ask for fewer cells",
    ),
    ({"n_cells": 10**400}, r"n_cells=10,0.* would take at least"),
    ({"mean_library_size": 1e9, "marker_log_fold_change": 20}, r"a count of about"),
]


@pytest.mark.parametrize(
    ("options", "message"),
    [pytest.param(o, m, id="-".join(f"{k}={v}" for k, v in o.items())) for o, m in REFUSED],
)
def test_bad_options_are_refused_with_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        simulate(**{**SMALL, **options})


@pytest.mark.parametrize("n_genes", [5, 7, 40])
def test_the_remedy_for_too_many_markers_works(n_genes):
    with pytest.raises(InputError, match="Lower it to") as caught:
        simulate(60, n_genes, 3, fraction_marker_genes=0.9)
    share = float(str(caught.value).split("Lower it to ")[1].split(",")[0])
    markers = simulate(60, n_genes, 3, fraction_marker_genes=share).var["marker_of"]
    assert (markers != "").sum() == n_genes // 3 * 3


def test_files_round_trip(tmp_path):
    adata = simulate(**SMALL)
    untouched = adata.copy()
    out = write_simulation(adata, tmp_path / "above" / "cells")
    assert out == tmp_path / "above" / "cells"
    assert sorted(p.name for p in out.iterdir()) == [
        "counts.npy",
        "labels.txt",
        "truth.h5ad",
    ]
    counts = np.load(out / "counts.npy", allow_pickle=False)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, adata.X)
    text = (out / "labels.txt").read_bytes().decode()
    assert text.endswith("\n")
    assert "\r" not in text
    assert text.splitlines() == list(adata.obs["label"])
    assert_same(ad.read_h5ad(out / "truth.h5ad"), adata)
    assert_same(adata, untouched)
    assert [p.name for p in out.parent.iterdir()] == ["cells"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no mode bits")
def test_others_may_read_the_folder_as_the_umask_says(tmp_path):
    (tmp_path / "plain").mkdir()
    out = write_simulation(simulate(**SMALL), tmp_path / "cells")
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_folder_can_be_checked_before_the_work(tmp_path, overwrite):
    check_simulation_folder(tmp_path / "new", overwrite=overwrite)
    assert not list(tmp_path.iterdir())
    (tmp_path / "counts.npy").mkdir()
    with pytest.raises(InputError, match="is a folder" if overwrite else "already exists"):
        check_simulation_folder(tmp_path, overwrite=overwrite)


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"already exists.*overwrite=True"):
        write_simulation(simulate(**SMALL), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_overwrite_replaces_the_three_files_only(tmp_path):
    out = write_simulation(simulate(**SMALL), tmp_path / "cells")
    (out / "mine.txt").write_text("mine")
    other = simulate(**SMALL, random_state=9)
    write_simulation(other, out, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert sorted(p.name for p in out.iterdir()) == [
        "counts.npy",
        "labels.txt",
        "mine.txt",
        "truth.h5ad",
    ]
    np.testing.assert_array_equal(np.load(out / "counts.npy"), other.X)
    assert (out / "labels.txt").read_text().splitlines() == list(other.obs["label"])
    assert_same(ad.read_h5ad(out / "truth.h5ad"), other)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_folders_place_is_refused(tmp_path, overwrite):
    (tmp_path / "cells").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write_simulation(simulate(**SMALL), tmp_path / "cells", overwrite)
    with pytest.raises(InputError, match="cannot be made"):
        write_simulation(simulate(**SMALL), tmp_path / "cells" / "below", overwrite)
    assert (tmp_path / "cells").read_text() == "mine"


def test_a_folder_in_a_files_place_is_refused(tmp_path):
    (tmp_path / "truth.h5ad").mkdir()
    with pytest.raises(InputError, match=r"truth\.h5ad is a folder"):
        write_simulation(simulate(**SMALL), tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["truth.h5ad"]


@pytest.mark.parametrize("exists", [False, True], ids=["new", "overwrite"])
def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch, exists):
    adata = simulate(**SMALL)
    out = tmp_path / "cells"
    if exists:
        write_simulation(adata, out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(ad.AnnData, "write_h5ad", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_simulation(simulate(**SMALL, random_state=5), out, overwrite=True)
    assert out.exists() == exists
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert len(list(tmp_path.iterdir())) == int(exists)


def test_cells_without_labels_are_refused(tmp_path):
    adata = simulate(**SMALL)
    del adata.obs["label"]
    with pytest.raises(InputError, match=r"no column 'label'.*library_size"):
        write_simulation(adata, tmp_path / "cells")
    assert not list(tmp_path.iterdir())
