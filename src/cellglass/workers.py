"""Threads that judge and draw what is trained while the next network is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def workers(n_threads: int | None = None) -> Iterator[Executor]:
    """Start threads, as many as there are cores, each of which computes with one thread.

    One thread a task, because most tasks are short of work for several, and because sums of
    several threads are added in the order in which they finish: so results are the same to
    the bit on any number of cores. JAX has threads of its own and keeps them.

    When the block fails or is interrupted, tasks that have not begun are dropped.

    Parameters
    ----------
    n_threads
        How many. Default: one for every core that this process may use.
    """
    from threadpoolctl import threadpool_limits

    if n_threads is None:
        n_threads = n_cores()

    def begin() -> None:
        threadpool_limits(1)  # OpenMP keeps its limit by thread; nobody else uses this one

    with (
        threadpool_limits(1),  # BLAS keeps one for all
        ThreadPoolExecutor(n_threads, "cellglass", initializer=begin) as pool,
    ):
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def n_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
