"""The sentences follow from the numbers, and change with them."""

import copy
import json
import re

import numpy as np
import pytest
from scipy import stats

from cellglass.report.conclusions import conclude
from cellglass.report.contrast import Contrast, number, percent, plus_minus, score
from cellglass.report.groups import group_runs

SIZE, RECONSTRUCTION, LATENT, LOSS, PCA, SURE = range(6)


LEVEL = [1.0] * 20


def run(
    loss, n_latent, seed=0, *, mse, held_out, nonzero, zero, ari, curve=LEVEL, **reconstruction
):
    return {
        "run": f"{loss}_{n_latent}_seed{seed}",
        "loss": loss,
        "n_latent": n_latent,
        "seed": seed,
        "reconstruction": {
            "mse_all": mse,
            "mse_all_train": mse,
            "mse_all_validation": held_out,
            "mse_nonzero": nonzero,
            "mse_nonzero_train": nonzero,
            "mse_nonzero_validation": nonzero * 1.1,
            "mse_zero": zero,
            "variance_kept": 0.2,
            "mean_at_zeros": 0.4,
            "label_silhouette": 0.35,
            "neighbors_preserved": 0.1,
            **reconstruction,
        },
        "clustering": {
            method: {
                "ari": ari,
                "nmi": ari,
                "silhouette": 0.3,
                "n_clusters": 3,
                "permutation": {"ari": {"mean": 0.0, "q95": 0.012, "p": 0.001}},
            }
            for method in ("kmeans", "leiden")
        },
        "label_silhouette": 0.3,
        "neighbors_preserved": 0.1,
        "history": {"validation": curve},
        "maps": {"reconstruction": {"pca_variance_ratio": [0.4, 0.2]}},
    }


def summary(runs, *, seeds=1, labels=3, pca_held_out=0.75, clusters=None):
    clustering = {
        method: {"ari": 0.8, "nmi": 0.8, "silhouette": 0.2, "n_clusters": 3}
        for method in ("kmeans", "leiden")
    }
    found = {
        "dataset": {
            "n_labels": labels,
            "n_cells": 1001,
            "n_genes": 1000,
            "n_validation": 100,
            "n_neighbors": 15,
            "n_clusters_from": "labels" if labels else "leiden",
        },
        "settings": {
            "n_latent": sorted({r["n_latent"] for r in runs}),
            "loss": list(dict.fromkeys(r["loss"] for r in runs)),
            "loss_scored_by": {
                r["loss"]: "mse_nonzero" if r["loss"] == "nonzero_mse" else "mse_all"
                for r in runs
            },
            "seeds": seeds,
        },
        "original": {
            "clustering": clustering,
            "label_silhouette": 0.1,
            "variance_by_entry": 1.0,
            "maps": {"pca_variance_ratio": [0.1, 0.05]},
        },
        "runs": runs,
        "baselines": [
            {
                "name": "pca",
                "n_components": n,
                "reconstruction": {
                    "mse_all": 0.7,
                    "mse_all_validation": pca_held_out,
                    "mse_nonzero": 1.7,
                    "mse_nonzero_validation": 1.8,
                },
                "clustering": clustering,
                "label_silhouette": 0.2,
            }
            for n in sorted({r["n_latent"] for r in runs})
        ],
    }
    if labels is None:
        for space in (found["original"], *found["baselines"], *found["runs"]):
            space["label_silhouette"] = None
            for scores in space["clustering"].values():
                scores["ari"] = scores["nmi"] = None
        for r in found["runs"]:
            r["reconstruction"]["label_silhouette"] = None
    same = {"kmeans": np.repeat([0, 1], 20), "leiden": np.repeat([0, 1], 20)}
    found["groups"] = group_runs(runs, {r["run"]: same for r in runs} | (clusters or {}))
    found["chance"] = {"n_permutations": 999 if labels else None}
    return found


BETTER_WHEN_WIDE = [
    run("mse", 10, mse=0.80, held_out=0.82, nonzero=1.7, zero=0.3, ari=0.70),
    run("mse", 50, mse=0.60, held_out=0.65, nonzero=1.5, zero=0.3, ari=0.90),
    run("nonzero_mse", 10, mse=3.0, held_out=3.1, nonzero=0.2, zero=4.0, ari=0.60),
    run("nonzero_mse", 50, mse=3.0, held_out=3.1, nonzero=0.1, zero=4.0, ari=0.60),
]
WORSE_WHEN_WIDE = [
    run("mse", 10, mse=0.80, held_out=0.70, nonzero=0.2, zero=0.9, ari=0.90),
    run("mse", 50, mse=0.60, held_out=0.95, nonzero=0.3, zero=0.9, ari=0.70),
    run("nonzero_mse", 10, mse=0.5, held_out=0.6, nonzero=0.4, zero=0.4, ari=0.95),
    run("nonzero_mse", 50, mse=0.5, held_out=0.6, nonzero=0.5, zero=0.4, ari=0.95),
]


def short(found, question):
    return conclude(found)[question]["short"]


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        pytest.param(
            SIZE, "gets better, of new cells too",
            "training cells gets better, that of cells never trained on gets worse", id="size",
        ),
        pytest.param(
            LATENT, "50 dimensions cluster better than 10",
            "10 dimensions cluster better than 50",
            id="size and clusters",
        ),
        pytest.param(
            LOSS, "better, pays for it at the zeros and gives worse clusters",
            "worse, is better at the zeros too and gives better clusters", id="loss",
        ),
    ],
)  # fmt: skip
def test_opposite_data_give_opposite_sentences(question, one, other):
    assert one in short(summary(copy.deepcopy(BETTER_WHEN_WIDE)), question)
    assert other in short(summary(copy.deepcopy(WORSE_WHEN_WIDE)), question)


@pytest.mark.parametrize(
    ("held_out", "answer"),
    [
        (0.5, "no: it is not better at any size"),
        (0.9, "yes."),
        (0.75, "no difference was"),
        (0.751, "no difference was"),
    ],
)
def test_the_verdict_on_pca_follows_its_held_out_error(held_out, answer):
    runs = [run("mse", 10, mse=0.7, held_out=0.75, nonzero=1, zero=0.3, ari=0.8)]
    assert answer in short(summary(runs, pca_held_out=held_out), PCA)


@pytest.mark.parametrize(
    ("curve", "sentence"),
    [
        pytest.param(LEVEL, None, id="level"),
        pytest.param([2.0, 1.0, *[1.1] * 18], "lowest after epoch 2 of 20", id="risen"),
        pytest.param([1.1, 1.0, *[1.005] * 18], None, id="hardly risen"),
        pytest.param(
            [2.0 - 0.05 * i for i in range(20)], "was still falling, by 8.7", id="fell"
        ),
        pytest.param([1.0], None, id="one epoch"),
        pytest.param([2.0, 1.0], "over the last epoch", id="two epochs"),
    ],
)
def test_the_held_out_loss_speaks_for_fewer_or_more_epochs(curve, sentence):
    errors = {"mse": 0.7, "held_out": 0.75, "nonzero": 1.0, "zero": 0.3, "ari": 0.8}
    answer = conclude(summary([run("mse", 10, **errors, curve=curve)]))[PCA]["answer"]
    assert ("There the loss" in answer) == (sentence is not None)
    assert sentence is None or sentence in answer


def test_nonzero_mse_alone_is_held_against_pca_where_it_was_trained():
    runs = [run("nonzero_mse", 10, mse=3, held_out=3, nonzero=0.2, zero=4, ari=0.8)]
    found = conclude(summary(runs))[PCA]
    assert "by the MSE over the non-zero entries of held-out cells, yes" in found["short"]


def nb(n_latent, likelihood, explained=0.4, **kwargs):
    errors = {"mse": 0.9, "held_out": 0.95, "nonzero": 1.0, "zero": 0.3, "ari": 0.8} | kwargs
    cells = ("", "_train", "_validation")
    counts = {f"log_likelihood{c}": likelihood for c in cells}
    counts |= {f"deviance_explained{c}": explained for c in cells}
    return run("nb", n_latent, **errors, **counts)


def on_counts(*runs, pca=-0.37, **kwargs):
    found = summary(list(runs), **kwargs)
    found["settings"]["loss_scored_by"]["nb"] = "log_likelihood"
    for baseline in found["baselines"]:
        baseline["reconstruction"]["log_likelihood_validation"] = pca
        baseline["reconstruction"]["log_likelihood"] = pca
    return found


@pytest.mark.parametrize(
    ("likelihood", "answer"),
    [(-0.31, "of held-out cells, yes."), (-0.45, "no: it is not better"), (-0.37, "no diff")],
)
def test_a_loss_on_counts_is_held_against_pca_by_the_likelihood_of_the_counts(
    likelihood, answer
):
    found = conclude(on_counts(nb(10, likelihood)))[PCA]
    assert answer in found["short"] and "log-likelihood of the counts" in found["short"]
    assert (
        "the MSE over all entries of held-out cells rises from 0.750 to 0.950"
        in (found["answer"])
    )


def test_every_loss_is_held_against_pca_by_its_own_measure():
    mse = run("mse", 10, mse=0.7, held_out=0.9, nonzero=1, zero=0.3, ari=0.8,
              log_likelihood_validation=-0.4)  # fmt: skip
    found = conclude(on_counts(nb(10, -0.31), mse))[PCA]
    assert found["short"].endswith(
        "each by its own measure of held-out cells: no with mse; yes with nb."
    )
    for part in (
        "From PCA to nb (10 dimensions, of held-out cells): log-likelihood of the counts +0.06",
        "MSE over all entries +26.7", "no difference in ARI of k-means and ARI of Leiden",
    ):  # fmt: skip
        assert part in found["answer"], found["answer"]


def test_sizes_and_reconstructions_of_a_loss_on_counts_are_judged_by_the_counts():
    found = conclude(on_counts(nb(10, -0.37, mse=2.0), nb(50, -0.31, mse=2.0)))
    assert "the reconstruction gets better, of new cells too" in found[SIZE]["short"]
    assert "log-likelihood of the counts rises from −0.370 to −0.310" in found[SIZE]["answer"]
    assert "a higher likelihood alone does not show" in found[SIZE]["answer"]
    assert (
        "explains 40\u00a0% of the deviance of the counts" in (found[RECONSTRUCTION]["answer"])
    )
    none = conclude(on_counts(nb(10, -0.37, explained=-0.1)))[RECONSTRUCTION]
    assert "further from the original than the mean of every gene" in none["short"]


def test_clusters_that_agree_with_nothing_are_ranked_by_nobody():
    runs = [
        run(loss, 10, mse=0.7, held_out=0.75, nonzero=1, zero=0.3, ari=0.03)
        for loss in ("mse", "gaussian", "nb")
    ]
    for item in runs:
        for method in item["clustering"].values():
            method["permutation"]["ari"] |= {"p": 0.3}
    found = conclude(summary(runs))[LOSS]
    assert "clusters" not in found["short"] and "ARI of k-means:" not in found["answer"]
    runs[1]["clustering"]["kmeans"]["permutation"]["ari"]["p"] = 0.01
    assert "clusters" in conclude(summary(runs))[LOSS]["short"]


# --- single sentences --------------------------------------------------------------------


def one_run(silhouette_there=0.35, **changed):
    options = {"mse": 0.7, "held_out": 0.75, "nonzero": 1.0, "zero": 0.3, "ari": 0.8} | changed
    found = summary([run("mse", 10, **options)])
    found["runs"][0]["reconstruction"]["label_silhouette"] = silhouette_there
    return found


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param({"mse": 0.7, "variance_kept": 0.3}, "is a smoothed original", id="smooth"),
        pytest.param({"mse": 0.1, "variance_kept": 0.97}, "close to the original", id="close"),
        pytest.param(
            {"mse": 0.7, "variance_kept": 1.0}, "explains less than half", id="spread"
        ),
        pytest.param({"mse": 2.0, "variance_kept": 1.0}, "mean of every gene is", id="worse"),
    ],
)
def test_what_a_reconstruction_is_called_follows_from_error_and_variance(changed, sentence):
    assert sentence in short(one_run(**changed), RECONSTRUCTION)


@pytest.mark.parametrize(
    ("silhouette", "sentence"),
    [(0.3, "stand further apart"), (0.11, "separated in it as they were"), (0.0, "closer")],
)
def test_whether_classes_stand_apart_follows_from_their_silhouette(silhouette, sentence):
    assert sentence in short(one_run(silhouette_there=silhouette), RECONSTRUCTION)


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [(0.02, "hardly anything of"), (0.3, "only a part of"), (0.7, "most of")],
)
def test_neighbours_are_held_against_chance(kept, sentence):
    answer = conclude(one_run(neighbors_preserved=kept))[RECONSTRUCTION]["answer"]
    assert sentence in answer
    assert "(1.5\u00a0% would be chance)" in answer


@pytest.mark.parametrize(
    ("kmeans", "leiden", "sentence"),
    [
        (0.9, 0.9, "k-means and Leiden find the known classes better in the latent space"),
        (0.8, 0.8, "k-means and Leiden find the known classes equally well in"),
        (0.8, 0.4, "classes equally well in the latent space and Leiden worse"),
        (0.9, 0.7, "classes better in the latent space and Leiden worse"),
    ],
)  # fmt: skip
def test_how_well_classes_are_found_is_held_against_the_original(kmeans, leiden, sentence):
    found = one_run(ari=kmeans)
    found["runs"][0]["clustering"]["leiden"] |= {"ari": leiden, "n_clusters": 7}
    assert sentence in short(found, LATENT)
    answer = conclude(found)[LATENT]["answer"]
    assert "Leiden finds 3 clusters in the original and 7 in the latent space" in answer


@pytest.mark.parametrize(
    ("kmeans", "leiden", "size", "loss"),
    [
        (0.9, 0.9, "50 dimensions cluster better than 10.", "gives better clusters."),
        (0.7, 0.8, "better than 50 by k-means alone", "worse clusters by k-means alone"),
        (0.8, 0.9, "cluster better than 10 by Leiden alone", "better clusters by Leiden alone"),
        (0.8, 0.8, "make no difference to the clusters.", "no difference to the clusters."),
        (0.9, 0.7, "disagree on which size", "by one method and worse by the other"),
    ],
)  # fmt: skip
def test_where_one_way_of_clustering_tells_a_difference_it_is_named(kmeans, leiden, size, loss):
    errors = {"mse": 0.7, "held_out": 0.75, "nonzero": 1.0, "zero": 0.3}
    runs = [run(n, k, **errors, ari=0.8) for n in ("mse", "nonzero_mse") for k in (10, 50)]
    runs[1]["clustering"]["kmeans"]["ari"] = runs[2]["clustering"]["kmeans"]["ari"] = kmeans
    runs[1]["clustering"]["leiden"]["ari"] = runs[2]["clustering"]["leiden"]["ari"] = leiden
    found = summary(runs)
    assert size in short(found, LATENT)
    assert loss in short(found, LOSS)


def test_kmeans_and_leiden_may_disagree_on_the_size():
    found = summary(copy.deepcopy(BETTER_WHEN_WIDE[:2]))
    found["runs"][1]["clustering"]["leiden"]["ari"] = 0.5
    assert short(found, LATENT).endswith(
        "k-means and Leiden disagree on which size clusters better."
    )


def test_the_smallest_size_stands_for_all_whatever_the_order():
    runs = [copy.deepcopy(r) for r in (BETTER_WHEN_WIDE[1], BETTER_WHEN_WIDE[0])]
    found = summary(runs)
    found["settings"]["n_latent"] = [50, 10]
    assert "10 latent dimensions" in conclude(found)[RECONSTRUCTION]["question"]
    assert "from 10 to 50 dimensions" in short(found, SIZE)


@pytest.mark.parametrize(
    ("train", "held_out", "trained", "new"),
    [
        ((0.8, 0.8), (0.9, 0.7), "stays as it was", "gets better"),
        ((0.8, 0.0), (0.7, 0.9), "gets better", "gets worse"),
        ((0.8, 0.9), (0.8, 0.8), "gets worse", "stays as it was"),
    ],
)
def test_headlines_on_size_tell_training_cells_from_others(train, held_out, trained, new):
    runs = [
        run("mse", n, mse=mse, held_out=other, nonzero=1, zero=0.3, ari=0.8)
        for n, mse, other in zip((10, 50), train, held_out, strict=True)
    ]
    headline = short(summary(runs), SIZE)
    assert f"the training cells {trained}, that of cells never trained on {new}." in headline


def test_data_that_do_not_vary_and_a_single_class_are_said_to_be_so():
    found = one_run()
    found["original"]["variance_by_entry"] = 0.0
    assert "does not vary" in short(found, RECONSTRUCTION)
    found = one_run(curve=[0.0] * 20)
    found["dataset"]["n_labels"] = 1
    assert "one label" in short(found, LATENT)


def test_a_loss_without_entries_among_the_training_cells_is_left_out():
    found = summary(copy.deepcopy(BETTER_WHEN_WIDE))
    for item in found["runs"]:
        item["reconstruction"]["mse_nonzero_train"] = None
    evidence = conclude(found)[SIZE]["evidence"]
    assert set(evidence) == {"mse"}


def test_the_spread_over_seeds_and_the_chance_of_a_false_alarm_are_stated():
    found = conclude(summary(seeds(0.8, 0.9, n_latent=10), seeds=2))[SURE]
    assert "by chance once in twenty times" in found["answer"]
    assert "With so few seeds only large differences show." in found["answer"]
    assert found["evidence"]["relative_range_mse_all"]["mse"] == pytest.approx(0.1 / 0.85)
    # t is 12.7 with one degree of freedom: 12.7 · .0707 / √2
    assert "MSE over all entries is 0.850 ±\u00a00.635 for mse" in found["answer"]
    assert "ARI of k-means with the labels 0.850 ±\u00a00.635 for mse" in found["answer"]


def seeds(*values, n_latent):
    return [
        run("mse", n_latent, seed, mse=v, held_out=v, nonzero=v, zero=v, ari=v)
        for seed, v in enumerate(values)
    ]


def test_where_seeds_overlap_no_difference_is_found():
    apart = seeds(0.80, 0.82, 0.84, n_latent=10) + seeds(0.60, 0.62, 0.64, n_latent=50)
    mixed = seeds(0.80, 0.82, 0.84, n_latent=10) + seeds(0.60, 0.62, 0.81, n_latent=50)
    found = conclude(summary(apart, seeds=3))[SIZE]
    assert "falls from 0.820 (0.800 to 0.840) to 0.620" in found["answer"]
    assert found["evidence"]["mse"]["mse_all"]["verdict"] == "lower"
    found = conclude(summary(mixed, seeds=3))[SIZE]
    assert found["short"] == (
        "Over only 3 seeds, from 10 to 50 dimensions (mse) no difference in the "
        "reconstruction was found."
    )
    assert "shows no difference" in found["answer"]
    assert "that seeds do not make" in found["answer"]
    assert found["evidence"]["mse"]["mse_all"]["verdict"] == "no difference"


def test_one_seed_is_said_to_be_one_seed():
    assert short(summary(BETTER_WHEN_WIDE), SURE) == "One seed cannot tell."
    runs = seeds(0.8, 0.9, n_latent=10)
    assert "trained 2 times" in conclude(summary(runs, seeds=2))[SURE]["answer"]


def test_what_was_not_trained_is_not_concluded_on():
    runs = [run("mse", 10, mse=0.7, held_out=0.75, nonzero=1, zero=0.3, ari=0.8)]
    found = conclude(summary(runs))
    assert "Only one latent size" in found[SIZE]["short"]
    assert "Only one loss" in found[LOSS]["short"]
    assert found[SIZE]["evidence"] == found[LOSS]["evidence"] == {}


def test_without_labels_nothing_is_said_of_agreement_with_them():
    found = conclude(summary(copy.deepcopy(BETTER_WHEN_WIDE), labels=None))
    text = " ".join(item["answer"] for item in found)
    assert "ARI" not in text
    assert "silhouette of the labels" not in text
    assert "only labels could tell" in found[LATENT]["short"]


def test_without_held_out_cells_nothing_is_said_of_them():
    found = summary(copy.deepcopy(BETTER_WHEN_WIDE))
    for item in (*found["runs"], *found["baselines"]):
        for kind in ("mse_all_validation", "mse_nonzero_validation"):
            item["reconstruction"][kind] = None
        found["dataset"]["n_validation"] = 0
        item["history"] = {"validation": []}
    text = " ".join(item["answer"] for item in conclude(found))
    assert "held-out" not in text
    assert "MSE over all entries +14.3" in text


@pytest.mark.parametrize("runs", [BETTER_WHEN_WIDE, WORSE_WHEN_WIDE])
def test_evidence_is_plain_data_and_holds_the_values_compared(runs):
    found = conclude(summary(copy.deepcopy(runs)))
    json.dumps(found, allow_nan=False)
    contrast = found[SIZE]["evidence"]["mse"]["mse_all"]
    assert (contrast["before"], contrast["after"]) == ([0.8], [0.6])
    assert all(item["answer"].startswith(item["short"]) for item in found)


def test_every_answer_reads_as_sentences():
    for runs in (BETTER_WHEN_WIDE, WORSE_WHEN_WIDE):
        for item in conclude(summary(copy.deepcopy(runs))):
            assert item["question"].endswith("?")
            assert item["answer"].endswith(".")
            assert not re.search(r"\s{2,}|\.\.|None|nan|\{|\}", item["answer"])


# --- seeds and chance --------------------------------------------------------------------


def partition(kind, seed):
    same = np.repeat([0, 1], 20)
    return same if kind == "same" else np.random.default_rng(seed).permutation(same)


@pytest.mark.parametrize(
    ("kmeans", "leiden", "sentence"),
    [
        ("same", "same", "k-means on mse_10 gives the same clusters from seed to seed "
         "(ARI 1.000 between runs, 3 pairs), and so does Leiden (1.000)."),
        ("same", "other", "k-means on mse_10 gives the same clusters from seed to seed "
         "(ARI 1.000 between runs, 3 pairs), Leiden different clusters ("),
        ("other", "same", "k-means on mse_10 gives different clusters from seed to seed"),
    ],
)  # fmt: skip
def test_stability_follows_from_the_clusters_of_the_seeds(kmeans, leiden, sentence):
    runs = seeds(0.80, 0.82, 0.84, n_latent=10)
    clusters = {
        r["run"]: {"kmeans": partition(kmeans, i), "leiden": partition(leiden, i)}
        for i, r in enumerate(runs)
    }
    assert short(summary(runs, seeds=3, clusters=clusters), SURE).startswith(sentence)


def test_the_least_stable_network_is_named():
    runs = seeds(0.80, 0.82, n_latent=10) + seeds(0.60, 0.62, n_latent=50)
    same, other = partition("same", 0), partition("other", 1)
    clusters = {r["run"]: {"kmeans": same, "leiden": same} for r in runs}
    assert (
        "Least alike" not in conclude(summary(runs, seeds=2, clusters=clusters))[SURE]["answer"]
    )
    clusters["mse_50_seed1"] = {"kmeans": same, "leiden": other}
    found = conclude(summary(runs, seeds=2, clusters=clusters))[SURE]
    assert "Least alike between seeds are the clusters of Leiden on mse_50" in found["answer"]
    assert found["evidence"]["stability"]["mse_50"]["leiden"]["ari_mean"] < 0.5


def test_clusters_are_held_against_shuffled_labels():
    found = summary(copy.deepcopy(BETTER_WHEN_WIDE))
    answer = conclude(found)[SURE]["answer"]
    assert "agrees with the labels better than chance would" in answer
    assert (
        "with the labels shuffled 999 times, 95\u00a0% of the ARIs stay below 0.012" in answer
    )
    found["runs"][1]["clustering"]["leiden"]["permutation"]["ari"]["p"] = 0.3
    answer = conclude(found)[SURE]["answer"]
    assert "the ARI of 1 of the 8 clusterings of latent vectors is not above chance" in answer
    assert "Leiden on mse_50_seed0 (p\u00a0=\u00a00.300)" in answer


@pytest.mark.parametrize("labels", [None, 1])
def test_where_labels_cannot_tell_nothing_is_said_of_chance(labels):
    found = summary(copy.deepcopy(BETTER_WHEN_WIDE), labels=labels)
    assert "shuffled" not in conclude(found)[SURE]["answer"]


# --- any losses --------------------------------------------------------------------------


def of_losses(**errors):
    """Make one run a loss; give its mse, log-likelihood and ARI."""
    found = summary(
        [
            run(loss, 10, mse=mse, held_out=mse, nonzero=mse, zero=mse, ari=ari,
                log_likelihood_validation=likelihood)
            for loss, (mse, likelihood, ari) in errors.items()
        ]
    )  # fmt: skip
    return conclude(found)[LOSS]


def test_each_loss_is_named_for_what_it_does_best():
    found = of_losses(mse=(0.5, -0.9, 0.5), nb=(0.7, -0.4, 0.6), zinb=(0.8, -0.6, 0.9))
    assert found["short"] == (
        "In this one run, mse has the lowest held-out MSE; nb has the highest held-out "
        "log-likelihood; zinb has the best k-means clusters and the best Leiden clusters."
    )
    assert "Lowest MSE over all entries of held-out cells: 0.500 with mse." in found["answer"]
    assert "(Poisson, nats an entry): −0.400 with nb." in found["answer"]
    assert "nb against mse: MSE +40.0\u00a0%, log-likelihood +0.5, " in found["answer"]
    best = found["evidence"]["best"]
    assert {key: item["loss"] for key, item in best.items()} == {
        "mse_all_validation": "mse",
        "log_likelihood_validation": "nb",
        "kmeans_ari": "zinb",
        "leiden_ari": "zinb",
    }


def test_losses_that_cannot_be_told_apart_share_their_place():
    found = of_losses(mse=(0.5, -0.4, 0.5), nb=(0.501, -0.4, 0.6), zinb=(0.8, -0.4, 0.6))
    assert "mse and nb share the lowest held-out MSE;" in found["short"]
    assert "nb and zinb share the best k-means clusters" in found["short"]
    assert "all losses share the highest held-out log-likelihood" in found["short"]
    assert "0.500 with mse; no difference was found to nb." in found["answer"]
    assert "no difference in log-likelihood and silhouette of the labels." in found["answer"]


def test_without_raw_counts_losses_are_not_ranked_by_likelihood():
    found = of_losses(mse=(0.5, None, 0.5), gaussian=(0.7, None, 0.6))
    assert "likelihood" not in found["answer"]
    assert "gaussian against mse: MSE +40.0\u00a0%" in found["answer"]


def test_many_losses_get_short_sentences_and_keep_those_on_the_zeros():
    names = ("mse", "nonzero_mse", "gaussian", "poisson", "nb", "nb_gene_cell", "zinb")
    runs = [
        run(loss, n, mse=0.5 + 0.1 * i, held_out=0.5 + 0.1 * i, nonzero=0.6, zero=0.4,
            ari=0.5, log_likelihood_validation=-0.5)
        for i, loss in enumerate(names)
        for n in (10, 50)
    ]  # fmt: skip
    found = conclude(summary(runs))
    for item in found:
        for sentence in item["answer"].split(". "):
            assert len(sentence) < 420, sentence
    assert "Against mse, nonzero_mse describes the expressed" in found[LOSS]["answer"]
    assert "Where a gene reads zero, the nonzero_mse network" in found[LOSS]["answer"]
    for loss in names[2:]:
        assert (
            f"With {loss}, the MSE over all entries of held-out cells" in found[SIZE]["answer"]
        )
        assert f"{loss} against mse: " in found[LOSS]["answer"]


# --- contrasts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "is_error", "verdict"),
    [
        pytest.param([1.0], [0.98], True, "lower", id="error falls"),
        pytest.param([1.0], [1.02], True, "higher", id="error rises"),
        pytest.param([1.0], [0.995], True, "none", id="error within one percent"),
        pytest.param([0.5], [0.51], False, "none", id="score within the margin"),
        pytest.param([0.5], [0.53], False, "higher", id="score rises"),
        pytest.param([0.0], [0.0], True, "none", id="both zero"),
        pytest.param([1.0, 1.1], [0.8, 0.9], True, "none", id="two seeds, ranges apart"),
        pytest.param([1.0, 1.01], [0.5, 0.51], True, "lower", id="two seeds, far apart"),
        pytest.param([1.0, 1.1, 1.05] * 9, [1.1, 1.2, 1.15] * 9, True, "higher", id="many"),
        pytest.param([0.3, 0.3], [0.2999, 0.2999], True, "none", id="apart but the same"),
        pytest.param([0.0], [1e-3], True, "higher", id="from zero"),
        pytest.param([1.0], [0.8, 0.8, 0.8], True, "lower", id="seeds without spread"),
        pytest.param([1.0], [0.80, 0.81, 0.82], True, "lower", id="one value far outside"),
        pytest.param([1.0], [0.9, 1.1, 0.95], True, "none", id="one value inside a range"),
    ],
)
def test_the_verdict_of_a_contrast(before, after, is_error, verdict):
    assert Contrast(tuple(before), tuple(after), is_error).verdict == verdict


@pytest.mark.parametrize(("n_before", "n_after"), [(2, 2), (3, 5), (10, 10), (1, 4), (6, 1)])
def test_seeds_leave_it_open_just_where_welchs_test_does(n_before, n_after):
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(200):
        before, after = rng.normal(5, 1, n_before), rng.normal(5 + rng.normal(0, 2), 2, n_after)
        if 1 in (n_before, n_after):
            several, one = sorted((before, after), key=len, reverse=True)
            p = stats.ttest_1samp(several, one[0]).pvalue
        else:
            p = stats.ttest_ind(before, after, equal_var=False).pvalue
        found = Contrast(tuple(before), tuple(after), True).is_uncertain
        assert found == (p > 0.05)
        verdicts.add(found)
    assert verdicts == {True, False}


def test_more_seeds_tell_more_and_a_false_alarm_stays_rare():
    rng = np.random.default_rng(1)

    def told(n_seeds, difference):
        draws = rng.normal(size=(2, 400, n_seeds)) + np.array([0, difference])[:, None, None]
        pairs = zip(draws[0] + 9, draws[1] + 9, strict=True)
        return np.mean([not Contrast(tuple(a), tuple(b), True).is_uncertain for a, b in pairs])

    power = [told(n, 1.5) for n in (2, 5, 10, 20)]
    assert power == sorted(power) and power[-1] > 0.95
    for n in (2, 5, 20):
        assert told(n, 0.0) < 0.08


@pytest.mark.parametrize(
    ("before", "after", "is_error", "text"),
    [
        (0.754, 0.737, True, "falls from 0.754 to 0.737 (−2.3\u00a0%)"),
        (0.347, 5.06, True, "rises from 0.347 to 5.06 (14.6 times as much)"),
        (0.9, 0.6, False, "falls from 0.900 to 0.600 (−0.300)"),
        (0.9, 0.905, False, "stays practically the same, 0.900 and 0.905"),
    ],
)
def test_a_change_in_words(before, after, is_error, text):
    assert Contrast((before,), (after,), is_error).moves() == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.754104, "0.754"), (3.5928, "3.59"), (14.58, "14.6"), (1234.5, "1,234"),
        (0.00123, "0.00123"), (0.0, "0"), (1.5e-7, "1.5e-07"), (0.7, "0.700"),
        (0.9996, "1.000"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("shown", "half_width", "text"),
    [
        (number(0.7421), 0.00312, "±\u00a00.003"),
        (number(14.58), 0.3, "±\u00a00.3"),
        (number(1234.5), 12.6, "±\u00a013"),
        (number(-0.4312), 0.02, "±\u00a00.020"),
        (number(1.5e-7), 2e-9, "±\u00a02e-09"),
        (score(0.94), 0.0312, "±\u00a00.031"),
        (percent(0.123), 0.021, "±\u00a02"),
        (percent(0.0467), 0.0021, "±\u00a00.2"),
        (score(0.94), None, ""),
    ],
)
def test_half_an_interval_has_the_decimals_of_its_mean(shown, half_width, text):
    assert plus_minus(shown, half_width) == text


def test_shares_and_scores_are_written_for_readers():
    assert score(-0.0001) == "0.000"
    assert number(-0.4312) == "−0.431"
    assert percent(0.1234) == "12\u00a0%"
    assert percent(0.0467) == "4.7\u00a0%"
    assert score(-0.0312) == "−0.031"
