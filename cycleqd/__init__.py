"""CycleQD: quality-diversity search over merges of skill experts, as plain Python without Prefect."""

import os

# Sandboxes and the engine share the cores. Threads that wait for each other spin but shortly (about 0.1 ms) before they
# sleep: spinning on a busy core makes torch several times slower, not spinning at all costs a fifth on an idle one.
# Read when OpenMP is loaded, so before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
