"""CycleQD: quality-diversity search over merges of skill experts, as plain Python without Prefect."""

