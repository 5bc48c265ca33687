"""Times cellglass beside what people use instead, and prints the table.

Every peer is a script of its own in an environment of its own, and every measurement is a
process of its own. A round runs all of them once; ratios are taken within a round, so that
what slows the whole machine down cancels, and their median is what is told.

    make bench                                # all of it, about half an hour on two cores
    .venv/bin/python benchmarks/speed/run.py --rounds 1 --only job

Where one Python has both JAX and PyTorch with CUDA, and scvi-tools:

    python benchmarks/speed/run.py --only accelerator --torch-python python --write
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tables import hardware, put_into, table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCH = ROOT / ".bench"
PEERS = HERE / "peers"
PAGE = ROOT / "docs" / "benchmarks.md"

OURS = Path(sys.executable)
KERAS = BENCH / "keras" / "bin" / "python"
SCVI = BENCH / "scvi" / "bin" / "python"


@dataclass(frozen=True)
class Finished:
    """One process that ran to its end."""

    wall: float  # seconds
    peak: float  # bytes, of the process itself
    answer: dict[str, Any]  # the JSON on its last line; empty if there is none


def run(command: Sequence[str | Path], **environment: str) -> Finished:
    """Run a process, and look at its time, its memory and its last line."""
    started = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )  # fmt: skip
    # What is printed is little, so the pipes cannot fill up while nobody reads them.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    out, err = process.stdout.read(), process.stderr.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{err[-3000:]}")
    last = out.strip().rpartition("\n")[2]
    unit = 1 if platform.system() == "Darwin" else 1024
    return Finished(wall, usage.ru_maxrss * unit, json.loads(last) if last[:1] == "{" else {})


# --- data -------------------------------------------------------------------------------


def data(n_cells: int, n_genes: int) -> Path:
    """Simulate counts of known groups once; give the folder they are in.

    ``log.npy`` and ``counts.npy`` are float32, cells × genes; ``labels.txt`` goes with both.
    """
    folder = BENCH / "data" / f"{n_cells}x{n_genes}"
    if (folder / "done").exists():
        return folder
    import cellglass as cg

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adata = cg.simulate(n_cells=n_cells, n_genes=n_genes, random_state=0)
    counts = adata.layers["counts"]
    counts = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
    np.save(folder / "counts.npy", counts.astype(np.float32))
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    np.save(folder / "log.npy", values.astype(np.float32))
    (folder / "labels.txt").write_text("\n".join(map(str, adata.obs["label"])) + "\n")
    (folder / "done").touch()
    return folder


# --- measurements -----------------------------------------------------------------------

Measured = dict[str, list[Finished]]
Table = Callable[[Measured], str]


def in_rounds(jobs: dict[str, Callable[[], Finished]], rounds: int) -> Measured:
    """Run all jobs in turn, round after round."""
    found: Measured = {name: [] for name in jobs}
    for i in range(rounds):
        for name, job in jobs.items():
            found[name].append(job())
            last = found[name][-1]
            epoch = last.answer.get("seconds", {}).get("epoch")
            each = f", {epoch:.4f} s an epoch" if epoch else ""
            sys.stderr.write(f"round {i + 1}: {name}: {last.wall:.1f} s{each}\n")
    return found


def whole_job(rounds: int) -> Measured:
    """Do the assignment on 5000 × 1000, from a cold process to figures on disk."""
    given = data(5000, 1000)
    out = BENCH / "out"
    cache = BENCH / "compiled"

    def ours(*, forget: bool) -> Finished:
        if forget:
            shutil.rmtree(cache, ignore_errors=True)
        return run(
            [OURS, "-m", "cellglass", "compare", given / "log.npy",
             "--labels", given / "labels.txt", "-o", out / "cellglass", "--overwrite", "-q"],
            CELLGLASS_CACHE=str(cache), NUMBA_CACHE_DIR=str(cache / "numba"),
        )  # fmt: skip

    notebook = [KERAS, PEERS / "keras_notebook.py", given / "log.npy", given / "labels.txt"]
    return in_rounds(
        {
            "cellglass, first time": lambda: ours(forget=True),
            "cellglass": lambda: ours(forget=False),
            "Keras notebook": lambda: run([*notebook, out / "keras"]),
        },
        rounds,
    )


def maps(rounds: int) -> Measured:
    """Lay 5000 × 1000 out by t-SNE, from as many components as latent spaces have, and 50."""
    log = data(5000, 1000) / "log.npy"
    jobs = {
        f"{engine}, {n} components": partial(run, [OURS, PEERS / "maps.py", log, engine, n])
        for n in ("50", "10")
        for engine in ("cellglass", "scikit-learn")
    }
    return in_rounds(jobs, rounds)


def epochs(n_cells: int, n_genes: int, n_epochs: int, rounds: int) -> Measured:
    """Epochs of one size by everyone."""
    given = data(n_cells, n_genes)
    log, counts, n = given / "log.npy", given / "counts.npy", str(n_epochs)

    def ours(loss: str, matrix: Path) -> Callable[[], Finished]:
        return lambda: run([OURS, PEERS / "cellglass_epochs.py", matrix, n, loss])

    bound = [OURS, PEERS / "lower_bound.py", str(n_cells), str(n_genes), n]
    return in_rounds(
        {
            "lower bound": lambda: run(bound),
            "cellglass mse": ours("mse", log),
            "cellglass nb": ours("nb", counts),
            "cellglass zinb": ours("zinb", counts),
            "PyTorch loop": lambda: run([SCVI, PEERS / "torch_epochs.py", log, n]),
            "PyTorch loop, tuned": lambda: run(
                [SCVI, PEERS / "torch_epochs.py", log, n, "tuned"]
            ),
            "Keras": lambda: run([KERAS, PEERS / "keras_epochs.py", log, n]),
            "scVI": lambda: run([SCVI, PEERS / "scvi_epochs.py", counts, n]),
        },
        rounds,
    )


def accelerator(torch_python: Path) -> str:
    """Name the accelerator that cellglass and PyTorch both see, or say that there is none."""
    ask = (
        "import jax, json; device = jax.devices()[0]; "
        "print(json.dumps([device.platform, device.device_kind]))"
    )
    done = subprocess.run([OURS, "-c", ask], capture_output=True, text=True, check=True)
    platform_name, kind = json.loads(done.stdout)
    torch = subprocess.run(
        [torch_python, "-c", "import torch; raise SystemExit(not torch.cuda.is_available())"],
        capture_output=True, check=False,
    )  # fmt: skip
    return kind if platform_name == "gpu" and torch.returncode == 0 else ""


def epochs_on_accelerator(rounds: int, torch_python: Path) -> Measured:
    """Pass epochs of 50,000 × 2000 on an accelerator."""
    given = data(50_000, 2000)
    log, counts = given / "log.npy", given / "counts.npy"
    ours = [OURS, PEERS / "cellglass_epochs.py"]
    torch = [torch_python, PEERS / "torch_epochs.py", log, "6"]
    scvi = [torch_python, PEERS / "scvi_epochs.py", counts, "3", "gpu"]
    return in_rounds(
        {
            "cellglass mse": lambda: run([*ours, log, "12", "mse"]),
            "cellglass mse, each of 8 side by side": lambda: run([*ours, log, "6", "mse", "8"]),
            "cellglass mse, 32-bit products": lambda: run(
                [*ours, log, "12", "mse"], JAX_DEFAULT_MATMUL_PRECISION="highest"
            ),
            "cellglass nb": lambda: run([*ours, counts, "12", "nb"]),
            "cellglass zinb": lambda: run([*ours, counts, "12", "zinb"]),
            "PyTorch loop": lambda: run([*torch, "plain", "cuda"]),
            "PyTorch loop, tuned": lambda: run([*torch, "tuned", "cuda"]),
            "scVI": lambda: run(scvi),
        },
        rounds,
    )


def start_up(rounds: int) -> Measured:
    """Start, which a user waits for before anything is done."""
    return in_rounds(
        {
            "python": lambda: run([OURS, "-c", "pass"]),
            "import cellglass": lambda: run([OURS, "-c", "import cellglass"]),
            "cellglass --help": lambda: run([OURS, "-m", "cellglass", "--help"]),
        },
        rounds,
    )


# --- tables -----------------------------------------------------------------------------


def times_as_long(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the rounds of how many times as long the other took."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def job_table(found: Measured) -> str:
    """Tell the whole job."""
    walls = {name: [one.wall for one in all_of] for name, all_of in found.items()}
    notebook = walls["Keras notebook"]
    rows = [
        [
            name, spread(wall, 1), f"{times_as_long(wall, notebook):.1f}",
            f"{max(one.peak for one in found[name]) / 2**20:.0f}",
        ]
        for name, wall in walls.items()
    ]  # fmt: skip
    head = ["whole job", "seconds", "Keras notebook takes × as long", "peak MiB"]
    return table(head, rows)


def map_table(found: Measured) -> str:
    """Tell how good maps are, and how long they took."""
    rows = []
    for name, all_of in found.items():
        usual = found["scikit-learn" + name[name.index(",") :]][0].answer
        own = all_of[0].answer  # every round gives the same, but for the seconds
        rows.append([
            name, f"{own['divergence']:.3f}", f"{own['divergence'] / usual['divergence']:.3f}",
            f"{own['kept']:.3f}", spread([one.answer["seconds"]["map"] for one in all_of], 1),
        ])  # fmt: skip
    head = [
        "t-SNE of 5000 cells",
        "divergence",
        "× scikit-learn’s",
        "neighbours kept",
        "seconds",
    ]
    return table(head, rows)


def epoch_table(title: str, found: Measured) -> str:
    """Tell the epochs of one size."""
    times = {name: [one.answer["seconds"]["epoch"] for one in f] for name, f in found.items()}
    mse, bound = times["cellglass mse"], times.get("lower bound")
    rows, head = [], [title, "seconds an epoch", "× lower bound", "× cellglass mse"]
    for name, seconds in times.items():
        ratios = [f"{times_as_long(one, seconds):.2f}" for one in (bound, mse) if one]
        rows.append([name, spread(seconds, 3), *ratios])
    if not bound:
        head.remove("× lower bound")
    return table(head, rows)


def start_table(found: Measured) -> str:
    """Tell what starting takes."""
    rows = [[name, spread([one.wall for one in all_of], 2)] for name, all_of in found.items()]
    return table(["start", "seconds"], rows)


def versions(measured: Sequence[Measured]) -> str:
    """One line with all versions that were told."""
    found: dict[str, list[str]] = {}
    for one in measured:
        for all_of in one.values():
            for name, number in all_of[0].answer.get("versions", {}).items():
                found.setdefault(name, []).append(number)
    # Every environment has its own, and packages of one name may differ.
    return ", ".join(
        f"{name} {' and '.join(dict.fromkeys(numbers))}"
        for name, numbers in sorted(found.items())
    )


PARTS = ("start", "job", "maps", "small", "large", "accelerator")


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--torch-python", type=Path, default=SCVI,
        help="Python with PyTorch and scvi-tools, for the accelerator; default: .bench/scvi",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    chosen = parser.parse_args()
    rounds = chosen.rounds
    parts: dict[str, tuple[Callable[[int], Measured], Table]] = {
        "start": (start_up, start_table),
        "job": (whole_job, job_table),
        "maps": (maps, map_table),
        "small": (partial(epochs, 5000, 1000, 40), partial(epoch_table, "5000 × 1000")),
        "large": (partial(epochs, 50_000, 2000, 4), partial(epoch_table, "50,000 × 2000")),
    }
    done = [(run_all(rounds), tell) for name, (run_all, tell) in parts.items()
            if name in chosen.only]  # fmt: skip
    if done:
        keep("speed", report(hardware(), rounds, *done), chosen.write)
    if "accelerator" in chosen.only:
        kind = accelerator(chosen.torch_python)
        if not kind:
            print("No accelerator that JAX and PyTorch both see: none was measured.")
            return
        found = epochs_on_accelerator(rounds, chosen.torch_python)
        part = found, partial(epoch_table, f"50,000 × 2000 on {kind}")
        keep("accelerator", report(f"{kind}; {hardware()}", rounds, part), chosen.write)


def report(machine: str, rounds: int, *parts: tuple[Measured, Table]) -> str:
    """Put tables under a line that says where, when and with what they came about."""
    head = f"{machine}; {time.strftime('%Y-%m-%d')}; medians (range), rounds: {rounds}."
    known = versions([found for found, _ in parts])
    return "\n\n".join(
        [f"{head} {known}." if known else head, *[tell(found) for found, tell in parts]]
    )


def keep(name: str, text: str, write: bool) -> None:
    """Print, and replace what stands between the marks of that name on the page."""
    print(text)
    if write:
        put_into(PAGE, name, text)


if __name__ == "__main__":
    main()
