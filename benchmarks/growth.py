"""Tells time and memory by the number of cells, genes, latent dimensions and runs, as a figure.

Every point is a process of its own: one comparison on simulated values, with few epochs, of
which the time of an epoch is told by itself. Peak memory is read as Linux tells it.

    make bench-growth            # seven minutes on two cores
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs"
USUAL = {"cells": 2000, "genes": 1000, "latent": 10, "runs": 1}
VARIED = {
    "cells": (1000, 3000, 10_000, 30_000, 100_000),
    "genes": (500, 2000, 8000, 20_000),
    "latent": (2, 20, 200),
    "runs": (1, 2, 4),
}
GENES_OF_MANY_CELLS = 500
EPOCHS = 4


def measure(cells: int, genes: int, latent: int, runs: int) -> dict[str, float]:
    """Compare once in this process."""
    import cellglass as cg
    from cellglass.batches import on_device
    from cellglass.encode import encode

    rng = np.random.default_rng(0)
    factors = rng.gamma(1.0, 1.0, size=(cells, 8)).astype(np.float32)
    X = factors @ rng.gamma(0.5, 0.5, size=(8, genes)).astype(np.float32)
    X *= rng.random(X.shape, np.float32) < 0.3
    np.log1p(X, out=X)
    seconds: list[float] = []
    cg.Autoencoder(
        n_latent=latent, max_epochs=EPOCHS,
        callbacks=lambda epoch: seconds.append(epoch.seconds),
    ).fit(X)  # fmt: skip
    begun = time.perf_counter()
    found = cg.compare(
        X, n_latent=latent, loss="mse", seeds=runs, max_epochs=EPOCHS, n_clusters=8
    )
    everything = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    network, rows = found.runs[0].training.network, on_device(X)
    encode(network, rows)
    begun = time.perf_counter()
    encode(network, rows)
    return {
        "epoch": float(np.median(np.diff(seconds))),
        "encoding": time.perf_counter() - begun,
        "comparison": everything,
        "peak_gib": peak,
    }


def measured() -> list[dict[str, Any]]:
    """Vary one thing at a time."""
    rows = []
    for varied, values in VARIED.items():
        for value in values:
            point = {**USUAL, varied: value}
            if varied == "cells":
                point["genes"] = GENES_OF_MANY_CELLS
            command = [sys.executable, __file__, "--point", json.dumps(point)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"varied": varied, **point, **json.loads(done.stdout)})
            sys.stderr.write(f"{rows[-1]}\n")
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory by what was varied."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = figure.subplots(2, len(VARIED), sharey="row")
    titles = {
        "cells": f"cells (× {GENES_OF_MANY_CELLS} genes)", "genes": "genes (2,000 cells)",
        "latent": "latent dimensions", "runs": "runs",
    }  # fmt: skip
    times = (
        ("comparison", "whole comparison", "#0072b2"),
        ("epoch", "one epoch", "#d55e00"),
        ("encoding", "encoding all cells", "#009e73"),
    )
    for column, varied in enumerate(VARIED):
        chosen = [row for row in rows if row["varied"] == varied]
        x = [row[varied] for row in chosen]
        for key, label, color in times:
            y = [row[key] for row in chosen]
            axes[0, column].loglog(x, y, "o-", color=color, label=label)
        if varied == "cells":
            linear = [chosen[0]["epoch"] * value / x[0] for value in x]
            axes[0, column].loglog(x, linear, ":", color="#777777", label="linear")
        axes[1, column].semilogx(x, [row["peak_gib"] for row in chosen], "o-", color="#222222")
        axes[1, column].set(xlabel=titles[varied])
        for axis in axes[:, column]:
            axis.set_xticks(x, [f"{value:,}" for value in x])
            axis.minorticks_off()
    axes[1, 0].set_ylim(0, 1.1 * max(row["peak_gib"] for row in rows))
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, GiB")
    # Where no curve passes; only the first panel has all of them.
    axes[0, 3].legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, fontsize=9)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure one point, or all of them and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", type=json.loads)
    parser.add_argument("--redraw", action="store_true", help="from docs/growth.csv")
    chosen = parser.parse_args()
    if chosen.point is not None:
        print(json.dumps(measure(**chosen.point)))
        return
    if chosen.redraw:
        with (PAGE / "growth.csv").open(encoding="utf-8") as file:
            known = [
                {k: v if k == "varied" else float(v) for k, v in row.items()}
                for row in csv.DictReader(file)
            ]
        for row in known:
            row.update({key: int(row[key]) for key in USUAL})
        draw(known, PAGE / "images" / "growth.png")
        return
    rows = measured()
    keys = list(rows[0])
    lines = [",".join(keys), *(",".join(str(row[key]) for key in keys) for row in rows)]
    (PAGE / "growth.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(rows, PAGE / "images" / "growth.png")


if __name__ == "__main__":
    main()
