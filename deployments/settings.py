"""What registering and starting agree on. It imports nothing: `make up` and `make down` need no Prefect themselves."""

from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
"""The checkout."""

HEARTBEAT_SECONDS = 30
"""How often a flow run says that it is alive, as ``prefect.yaml`` and the worker have it."""
