"""CycleQD: quality-diversity search over merges of skill experts, as plain Python without Prefect."""

import os

# Sandboxes and the engine share the cores. Threads that wait for each other spin but shortly (about 0.1 ms) before
# they sleep: on a busy core spinning makes torch several times slower, on an idle one sleeping at once costs a fifth.
# Read when OpenMP is loaded, so before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
