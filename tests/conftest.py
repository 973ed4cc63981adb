"""One thread of linear algebra per test process: the suite runs one process per core already.

With two each, the four threads wait for one another and the golden cases take three times as long.
"""

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
