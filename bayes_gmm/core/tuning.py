"""Sizes that were measured on one machine, in one place.

They decide how fast a result comes and how much memory it takes. Results differ with them by rounding only, since they
change the order of sums.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Block sizes, thresholds for threads and bounds on memory, as measured on an Intel Xeon of 2023 with two cores.

    Attributes
    ----------
    thin_features, thin_components
        Numbers of features and of components up to which matrix products are slower than sums of products, whose
        programs grow with the number of components.
    few_coefficients, few_rows
        Natural parameters and rows up to which sums of products serve as well, because programs of them compile faster.
    thin_block, medium_block, wide_block
        Largest number of points in a block: for thin data; for 51 to 256 sufficient statistics, whose matrix products
        would otherwise be large enough for XLA to share them among threads, which loses more than it gains; for all
        others. Each is an odd multiple of 64, so that the rows of a block do not collide in the cache.
    nanoseconds, nanoseconds_of_squares
        Time of a pass over the data for each point and component, and what the square of the number of features adds.
    milliseconds_worth_a_thread, milliseconds_worth_a_part
        Length of a pass over the data from which threads make some runs of EM each, and from which they share a pass.
    numbers_of_a_block
        Numbers, one for each draw, component and point, that are computed together: they fit the cache.
    numbers_at_once
        Largest number of float64 values, one for each draw and point, that are held at a time: 80 MB.
    points_of_a_program
        Points for which the density of a mixture is compiled; longer tables take several calls.
    draws_of_a_program
        Draws whose coordinates are turned into mixtures by one call.
    rows_of_a_factorisation
        Rows of one QR factorisation of the data.
    """

    thin_features: int = 2
    thin_components: int = 16
    few_coefficients: int = 64
    few_rows: int = 2048
    thin_block: int = 4416
    medium_block: int = 704
    wide_block: int = 1088
    nanoseconds: float = 4.0
    nanoseconds_of_squares: float = 0.06
    milliseconds_worth_a_thread: float = 0.01
    milliseconds_worth_a_part: float = 1.5
    numbers_of_a_block: int = 2**17
    numbers_at_once: int = 10**7
    points_of_a_program: int = 4096
    draws_of_a_program: int = 256
    rows_of_a_factorisation: int = 2**16


TUNING = Tuning()


def n_cores() -> int:
    """Cores that this process may use: fewer than there are where a scheduler bound it to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
