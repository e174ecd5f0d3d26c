"""The level of tests, the confidence of intervals, the fewest rows, p in print."""

ALPHA = 0.05  # a test rejects at p <= ALPHA
CONFIDENCE = 1 - ALPHA  # of every interval
LEAST_ROWS = 5  # with 4 rows no order of them has a p below 2/24
LEAST_P = 1e-4  # the least p that is written as a number


def in_print(p: float) -> str:
    """A p with four decimals, and a bound for what is below them; never 0.

    >>> in_print(0.04321), in_print(1e-12)
    ('0.0432', '< 0.0001')
    """
    return f"{p:.4f}" if p >= LEAST_P else f"< {LEAST_P:.4f}"
