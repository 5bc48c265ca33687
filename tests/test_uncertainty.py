"""Intervals, stability and chance equal what is known by other ways."""

import copy
import json
import math
import re
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats
from sklearn import metrics as reference

import cellglass as cg
from cellglass import uncertainty
from cellglass.metrics import AGREEMENT
from cellglass.report import figures, panels
from cellglass.report.contrast import number, percent, plus_minus, score
from cellglass.report.groups import group_runs, highest_by_chance
from cellglass.report.render import likelihood_key, render
from cellglass.report.summarize import figure_names, scores_frame
from cellglass.uncertainty import (
    mean_and_interval,
    neighbors_by_chance,
    permutation_baseline,
    stability,
)

values = st.lists(st.floats(-10, 10, width=16), min_size=2, max_size=8)


# --- intervals ---------------------------------------------------------------------------


@given(values, st.sampled_from([0.5, 0.9, 0.95]))
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_just_the_means_that_a_t_test_would_not_reject(found, level):
    interval = mean_and_interval(found, level)
    if interval.sd == 0 or interval.sd < 1e-9:
        return
    for end in (interval.low, interval.high):
        assert stats.ttest_1samp(found, end).pvalue == pytest.approx(1 - level, abs=1e-6)


def test_an_interval_by_hand():
    # Three values around 2: sd 1, and t with 2 degrees of freedom is 4.303 at 97.5 %.
    interval = mean_and_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.sd, interval.n) == (2.0, 1.0, 3)
    assert interval.half_width == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    assert interval.low == 2.0 - interval.half_width
    assert interval.high == 2.0 + interval.half_width


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    draws = rng.normal(5.0, 2.0, size=(2000, 4))
    held = [i.low <= 5 <= i.high for i in map(mean_and_interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_a_mean_and_no_interval():
    interval = mean_and_interval([0.7])
    assert (interval.mean, interval.n) == (0.7, 1)
    assert interval.sd is interval.low is interval.high is interval.half_width is None


@pytest.mark.parametrize(("found", "level"), [([], 0.95), ([1.0, 2.0], 1.0), ([1.0], 0)])
def test_what_has_no_interval_is_refused(found, level):
    with pytest.raises(ValueError, match="no values" if not found else "share between"):
        mean_and_interval(found, level)


# --- stability ---------------------------------------------------------------------------


def test_stability_equals_scikit_learns_ari_of_every_pair():
    rng = np.random.default_rng(0)
    runs = [np.repeat(range(4), 25)]
    runs += [
        np.where(rng.random(100) < s, rng.integers(4, size=100), runs[0]) for s in (0.2, 1)
    ]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [reference.adjusted_rand_score(runs[a], runs[b]) for a, b in pairs]
    found = stability(runs)
    assert found.n_pairs == 3
    assert found.ari_mean == pytest.approx(np.mean(expected))
    assert found.ari_min == pytest.approx(min(expected))
    assert found.ari_max == pytest.approx(max(expected))
    assert found.ari_min < 0.2 < 0.5 < found.ari_max


def test_the_same_clusters_under_other_numbers_are_stable():
    clusters = np.repeat(range(3), 10)
    found = stability([clusters, 2 - clusters, (clusters + 1) % 3])
    assert (found.ari_mean, found.ari_min, found.ari_max) == (1, 1, 1)


def test_one_run_has_no_stability():
    found = stability([np.arange(5)])
    assert found.n_pairs == 0
    assert found.ari_mean is found.ari_min is found.ari_max is None


# --- chance ------------------------------------------------------------------------------


def shuffled(labels, clusters, name, n, seed=0):
    rng = np.random.default_rng(seed)
    return permutation_baseline(labels, clusters, AGREEMENT[name], n, rng)


LABELS = np.repeat(range(3), [50, 30, 20])


@pytest.mark.parametrize("name", AGREEMENT)
def test_drawn_tables_give_what_shuffling_the_labels_gives(name):
    rng = np.random.default_rng(1)
    clusters = rng.integers(4, size=100)
    score = AGREEMENT[name]
    scores = [score(rng.permutation(LABELS), clusters) for _ in range(4000)]
    found = shuffled(LABELS, clusters, name, 4000)
    error = np.std(scores) / math.sqrt(4000)
    assert found.mean == pytest.approx(np.mean(scores), abs=6 * error)
    assert found.q95 == pytest.approx(np.quantile(scores, 0.95), rel=0.1)
    share = np.mean(np.array(scores) >= score(LABELS, clusters))
    assert found.p == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("name", AGREEMENT)
def test_the_p_value_of_a_small_table_is_that_of_all_orders(name):
    # Of the 20 ways to put three of six cells into a class, 2 agree as well as the clusters
    # do: the classes themselves, and the classes with their names exchanged.
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert shuffled(labels, labels, name, 20_000).p == pytest.approx(0.1, abs=0.01)


def test_p_values_of_unrelated_clusters_are_uniform():
    rng = np.random.default_rng(2)
    found = [
        shuffled(LABELS, rng.integers(5, size=100), "ari", 199, seed=i).p for i in range(300)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", AGREEMENT)
def test_clusters_that_are_the_labels_have_the_smallest_p_value(name):
    found = shuffled(LABELS, (LABELS + 1) % 3, name, 99)
    assert found.p == 1 / 100
    assert found.mean < found.q95 < 0.3


def test_ari_is_zero_by_chance_on_average_and_nmi_is_not():
    clusters = np.arange(100) % 20
    ari, nmi = (shuffled(LABELS, clusters, name, 2000) for name in ("ari", "nmi"))
    assert abs(ari.mean) < 0.002
    assert nmi.mean > 0.1


@pytest.mark.parametrize("name", AGREEMENT)
@pytest.mark.parametrize(
    ("labels", "clusters"),
    [
        pytest.param(np.zeros(10, int), np.arange(10) % 2, id="one label"),
        pytest.param(np.arange(10) % 2, np.zeros(10, int), id="one cluster"),
        pytest.param(np.zeros(10, int), np.zeros(10, int), id="one of each"),
        pytest.param(np.arange(10), np.arange(10), id="every cell its own"),
    ],
)
def test_where_shuffling_changes_nothing_nothing_is_significant(name, labels, clusters):
    found = shuffled(labels, clusters, name, 50)
    assert found.p == 1
    assert found.mean == pytest.approx(AGREEMENT[name](labels, clusters))


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=30),
    st.randoms(use_true_random=False),
    st.sampled_from(sorted(AGREEMENT)),
)
@settings(max_examples=50, deadline=None)
def test_chance_is_finite_and_does_not_depend_on_the_order_of_cells(labels, random, name):
    labels = np.array(labels)
    clusters = np.array([random.randrange(4) for _ in labels])
    order = random.sample(range(len(labels)), len(labels))
    found = shuffled(labels, clusters, name, 20)
    assert found == shuffled(labels[order], clusters[order], name, 20)
    assert all(map(math.isfinite, (found.mean, found.q95)))
    assert 1 / 21 <= found.p <= 1


def test_memory_is_bounded_without_a_change_of_the_result(monkeypatch):
    clusters = np.random.default_rng(0).integers(4, size=100)
    whole = shuffled(LABELS, clusters, "ari", 50)
    monkeypatch.setattr(uncertainty, "MAX_ENTRIES", 90)  # seven tables of 3 × 4 at a time
    assert shuffled(LABELS, clusters, "ari", 50) == whole


def test_a_random_space_keeps_as_many_neighbours_as_said():
    from cellglass.neighbors import nearest_neighbors, neighbors_preserved

    rng = np.random.default_rng(0)
    one, other = (nearest_neighbors(rng.normal(size=(600, 5))) for _ in range(2))
    expected = neighbors_by_chance(one.shape[1], 600)
    assert neighbors_preserved(one, other) == pytest.approx(expected, rel=0.1)


# --- in a comparison ---------------------------------------------------------------------


def compare_quickly(data, **options):
    with pytest.MonkeyPatch.context() as patch:  # no score looks at t-SNE
        project = import_module("cellglass.project")
        patch.setattr(project, "tsne", lambda scores, **_: scores[:, :2])
        return cg.compare(data, n_hidden=8, **options)


@pytest.fixture(scope="module")
def three_seeds(small):
    return compare_quickly(small, n_latent=2, max_epochs=2, seeds=3)


def test_groups_hold_the_means_of_their_runs(three_seeds):
    summary = three_seeds.summary
    json.dumps(summary, allow_nan=False)
    groups = summary["groups"]
    assert [(g["loss"], g["n_latent"], g["seeds"]) for g in groups] == [
        ("mse", 2, 3),
        ("nonzero_mse", 2, 3),
    ]
    for group in groups:
        runs = [r for r in summary["runs"] if r["loss"] == group["loss"]]
        for path in (
            ("reconstruction", "mse_all_validation"),
            ("clustering", "kmeans", "ari"),
            ("clustering", "leiden", "n_clusters"),
            ("label_silhouette",),
        ):
            found, numbers = group["scores"], runs
            for key in path:
                found, numbers = found[key], [n[key] for n in numbers]
            assert found["mean"] == pytest.approx(np.mean(numbers))
            assert found["sd"] == pytest.approx(np.std(numbers, ddof=1))
            assert found["n"] == 3
            assert found["low"] <= found["mean"] <= found["high"]


def test_the_stability_in_the_results_is_that_of_the_clusters_written_out(three_seeds):
    for group in three_seeds.summary["groups"]:
        runs = [r for r in three_seeds.runs if r.settings.loss == group["loss"]]
        for method, found in group["stability"].items():
            parts = [r.latent.clustering[method].clusters for r in runs]
            aris = [
                reference.adjusted_rand_score(parts[i], parts[j])
                for i in range(3)
                for j in range(i)
            ]
            assert found["ari_mean"] == pytest.approx(np.mean(aris))
            assert found["n_pairs"] == 3


def test_every_clustering_is_held_against_chance(three_seeds):
    summary = three_seeds.summary
    spaces = [summary["original"], *summary["baselines"], *summary["runs"]]
    for space in spaces:
        for found in space["clustering"].values():
            assert found["permutation"].keys() == AGREEMENT.keys()
            for name, chance in found["permutation"].items():
                assert 1 / 1000 <= chance["p"] <= 1
                assert (found[name] > chance["q95"]) == (chance["p"] < 0.05)
    highest = max(s["clustering"]["leiden"]["permutation"]["ari"]["q95"] for s in spaces)
    assert summary["chance"]["clustering"]["leiden"]["ari"]["q95"] == highest
    assert summary["chance"]["neighbors_preserved"] == 15 / 59


def test_scores_have_a_row_a_group_with_the_numbers_of_the_results(three_seeds):
    frame = scores_frame(three_seeds.summary)
    for (_, row), group in zip(frame.iterrows(), three_seeds.summary["groups"], strict=True):
        assert row["loss"] == group["loss"]
        ari = group["scores"]["clustering"]["kmeans"]["ari"]
        assert row["clustering_kmeans_ari_mean"] == ari["mean"]
        assert row["clustering_kmeans_ari_high"] == ari["high"]
        assert row["stability_leiden_ari_min"] == group["stability"]["leiden"]["ari_min"]


def test_a_score_that_some_seeds_lack_is_averaged_over_the_others():
    def run(seed, value):
        return {
            "run": f"mse_2_seed{seed}", "loss": "mse", "n_latent": 2,
            "reconstruction": {"mse_all": value, "mse_zero": None},
            "clustering": {}, "label_silhouette": None, "neighbors_preserved": 0.5,
        }  # fmt: skip

    (group,) = group_runs([run(0, 1.0), run(1, None), run(2, 3.0)], {})
    assert group["scores"]["reconstruction"]["mse_all"]["mean"] == 2
    assert group["scores"]["reconstruction"]["mse_all"]["n"] == 2
    assert group["scores"]["reconstruction"]["mse_zero"] is None
    assert group["scores"]["label_silhouette"] is None


def test_without_labels_nothing_is_held_against_shuffled_ones(small):
    unlabelled = small[:, :].copy()
    del unlabelled.obs["label"]
    summary = compare_quickly(unlabelled, n_latent=2, max_epochs=1, loss="mse").summary
    (run,) = summary["runs"]
    assert run["clustering"]["kmeans"]["permutation"] == {"ari": None, "nmi": None}
    assert summary["chance"]["n_permutations"] is None
    assert highest_by_chance([run])["kmeans"]["ari"] == {"q95": None, "p": None}
    (group,) = summary["groups"]
    assert group["stability"]["kmeans"]["n_pairs"] == 0
    assert group["scores"]["clustering"]["kmeans"]["ari"] is None


# --- on the page -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(three_seeds):
    """The page with empty figures, which take long to draw."""
    runs = [run.name for run in three_seeds.runs]
    empty = {"caption": "", "png": b"", "svg": b"", "size": (1, 1)}
    drawings = [
        panels.Drawing(name=name, **empty, panels=((0, 0, 1, 1),) * 2, panel_titles=("", ""))
        for name in figure_names(runs)
    ]
    legend = panels.Legend("label", (), {})
    return render(three_seeds.summary, drawings, dict.fromkeys(runs, legend))


def cells_of(page, name):
    """Cells of every table row with this heading, without tags."""
    rows = re.findall(rf'<th scope="row">{name}</th>(.*?)</tr>', page, re.DOTALL)
    return [
        [re.sub(r"\s*<[^>]+>\s*", " ", cell).strip(" ") for cell in row.split("</td>")[:-1]]
        for row in rows
    ]


def test_the_tables_show_means_and_half_intervals_of_the_groups(three_seeds, page):
    for group in three_seeds.summary["groups"]:
        errors, scores, stable = cells_of(page, f"{group['loss']}_2")
        error = group["scores"]["reconstruction"]["mse_all_validation"]
        shown = number(error["mean"])
        assert errors[3] == f"{shown} {plus_minus(shown, error['half_width'])}"
        ari = group["scores"]["clustering"]["leiden"]["ari"]
        shown = score(ari["mean"])
        assert scores[3] == f"{shown} {plus_minus(shown, ari['half_width'])}"
        found = group["stability"]["leiden"]
        expected = [score(found[f"ari_{key}"]) for key in ("mean", "min", "max")]
        assert stable[3:] == [*expected, "3"]


def test_single_runs_and_chance_are_in_the_tables_too(three_seeds, page):
    for run in three_seeds.summary["runs"]:
        errors, scores = cells_of(page, run["run"])
        assert errors[0] == number(run["reconstruction"]["mse_all"])
        assert scores[0] == score(run["clustering"]["kmeans"]["ari"])
    (chance,) = cells_of(page, "chance")
    by_chance = three_seeds.summary["chance"]
    assert chance[0] == score(by_chance["clustering"]["kmeans"]["ari"]["q95"])
    assert chance[-1] == percent(by_chance["neighbors_preserved"])


def test_a_log_likelihood_has_a_column_where_it_is_known(three_seeds):
    summary = copy.deepcopy(three_seeds.summary)
    key = "log_likelihood_validation"
    for row in (*summary["runs"], *summary["baselines"]):
        row["reconstruction"][key] = None
    assert likelihood_key(summary) is None
    summary["runs"][0]["reconstruction"][key] = -0.5
    assert likelihood_key(summary) == key
    summary["dataset"]["n_validation"] = 0
    assert likelihood_key(summary) is None


def test_figures_show_the_intervals_and_every_loss_has_its_own_look(three_seeds):
    summary = copy.deepcopy(three_seeds.summary)
    summary["settings"]["loss"] = [f"loss{i}" for i in range(12)]
    summary["runs"] = [
        {**run, "loss": f"loss{i}"} for i in range(12) for run in summary["runs"][:3]
    ]
    curves = figures._error_curves(summary)
    assert [curve.name for curve in curves] == ["PCA", *summary["settings"]["loss"]]
    assert len({(curve.color, curve.marker) for curve in curves}) == 13
    errors = [run["reconstruction"]["mse_all"] for run in summary["runs"][:3]]
    axes = Figure().subplots()
    figures._plot_error(axes, curves[1], "mse_all", {2: 0}, 0.0)
    (bar,) = (line for line in axes.lines if len(line.get_ydata()) == 2)
    interval = mean_and_interval(errors)
    assert list(bar.get_ydata()) == [max(0, interval.low), interval.high]
