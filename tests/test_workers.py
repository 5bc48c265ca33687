"""Judging on other threads gives the same as on this one, and fails and stops like it."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import cellglass as cg
from cellglass import workers as module
from cellglass.workers import workers


@pytest.mark.as_shipped
def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    adata = cg.simulate(n_cells=150, n_genes=40, random_state=0)
    found = []
    for n in (1, 3):
        monkeypatch.setattr(module, "n_cores", lambda n=n: n)
        found.append(cg.compare(adata, n_latent=(2, 5), loss="mse", max_epochs=2))
    one, other = found
    for a, b in zip(one.runs, other.runs, strict=True):
        np.testing.assert_array_equal(a.latent_maps.tsne, b.latent_maps.tsne)
        np.testing.assert_array_equal(
            a.latent.clustering["kmeans"].clusters, b.latent.clustering["kmeans"].clusters
        )
    drop = ("seconds", "environment")
    assert {k: v for k, v in one.summary.items() if k not in ("runs", *drop)} == {
        k: v for k, v in other.summary.items() if k not in ("runs", *drop)
    }


def test_every_task_computes_with_one_thread_and_the_limit_is_lifted_afterwards():
    before = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    with workers() as pool:
        during = pool.submit(threadpool_info).result()
    assert {pool["num_threads"] for pool in during} == {1}
    assert {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()} == before


def test_a_failure_drops_what_has_not_begun(monkeypatch):
    monkeypatch.setattr(module, "n_cores", lambda: 1)
    go_on, ran = threading.Event(), []
    with pytest.raises(KeyboardInterrupt), workers() as pool:
        pool.submit(go_on.wait, 30)
        pool.submit(ran.append, 1)
        threading.Timer(0.1, go_on.set).start()
        raise KeyboardInterrupt
    assert not ran
