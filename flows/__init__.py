"""Prefect flows: the phases of a run and the run itself. They only compose tasks."""
