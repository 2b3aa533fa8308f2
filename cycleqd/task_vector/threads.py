"""Small decompositions run on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread inside the block.

    LAPACK gains nothing from a second thread on matrices of some dozens of rows, and where another process keeps a
    core busy its threads wait for each other: 210 SVDs of 48 × 48 then took 3 s instead of 0.06 s. One thread also
    makes the result independent of the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
