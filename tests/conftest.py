"""Data shared by tests: small, simulated, made once."""

import os

import anndata
import jax
import numpy as np
import pandas as pd
import pytest

import cellglass as cg

QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
HOSTILE = ["<script>alert(1)</script>", "=1+1", "$x_$"]
"""Names of classes that would do harm or look odd where they are not escaped."""


def pytest_configure(config):
    """Compile fast rather than to fast programs, and keep them for other processes and runs.

    Hundreds of programs are compiled, and most run for milliseconds. ``XLA_FLAGS=`` in the
    environment compiles them as users do.
    """
    os.environ.setdefault("XLA_FLAGS", QUICK_COMPILATION)
    if config.pluginmanager.hasplugin("cacheprovider"):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # JAX itself looks at the environment when it is imported, which has been.
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A GPU rounds factors to 19 bits by default. What tests hold results against does not.
    jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(scope="session")
def counts() -> anndata.AnnData:
    """Three groups that no method can miss, with genes of their own."""
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=150)
    rates = np.full((3, 45), 1.0)
    for j in range(3):
        rates[j, 15 * j : 15 * (j + 1)] = 6.0
    X = rng.poisson(rates[group]).astype(np.float32)
    obs = pd.DataFrame({"label": [f"type {g}" for g in group]}, [f"c{i}" for i in range(150)])
    return anndata.AnnData(X, obs, pd.DataFrame(index=[f"gene{i}" for i in range(45)]))


@pytest.fixture(scope="session")
def small():
    """60 cells × 20 genes in three groups with hostile names."""
    adata = cg.simulate(60, 20, 3, random_state=1)
    names = np.array(HOSTILE)[adata.obs["label"].astype(int)]
    adata.obs["label"] = names
    adata.uns["cellglass_source"] = {"matrix": "<b>.npy", "labels": "l & l.txt"}
    return adata


@pytest.fixture(scope="session")
def small_comparison(small):
    """Two sizes, two losses, three epochs."""
    return cg.compare(small, n_latent=(2, 3), n_hidden=8, max_epochs=3)
