"""The level of every test, the confidence of every interval, the fewest rows."""

ALPHA = 0.05  # a test rejects at p <= ALPHA
CONFIDENCE = 1 - ALPHA  # of every interval
LEAST_ROWS = 5  # with 4 rows no order of them has a p below 2/24
