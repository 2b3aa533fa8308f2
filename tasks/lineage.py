"""What was made from what, as Prefect assets: the experts, the archives, the final model and the report of a run.

Few and large things are assets. A child is none: the report has its parents. Each is told once, when it is made.

Prefect's decorator ``@materialize`` wants the keys before a task begins. It would also tell what a task only found to
be there already. So Prefect's own asset context sends the events here, after the fact. Without a server nothing is
sent, and a server or a rule of Prefect's that refuses an asset costs the run nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prefect.assets import Asset, AssetProperties
from prefect.context import AssetContext
from prefect.states import Completed
from prefect.types.names import MAX_ASSET_KEY_LENGTH, RESTRICTED_ASSET_CHARACTERS

from cycleqd.config import RunConfig
from cycleqd.models.segmentation.base import TINY_SAM
from cycleqd.packed_models import PACKED
from cycleqd.run.names import ALL_DATA, CHECKPOINT_KEY, REPORT_KEY, expert_key
from cycleqd.run.store import RunStore
from cycleqd.seams import RECIPES
from cycleqd.urls import without_credentials
from tasks.limits import machine
from tasks.server import has_server

Facts = dict[str, object]
"""What is told of an asset beside its key; the payload of its event."""

_OWN: Final = "cycleqd://"
"""Begins the keys of what this software brings or makes itself."""
_DIGITS: Final = 8

log = logging.getLogger("cycleqd.lineage")


def asset_key(address: str) -> str:
    """A key that Prefect takes: a URL with a scheme in lower case, without spaces and signs that it restricts.

    A folder of this machine becomes ``file://<machine>/...``, since the server may hear of others with the same path.
    What Prefect does not take is replaced or cut, and a hash keeps two such keys apart.

    Args:
        address: A URL, or a path of this machine.
    """
    address = without_credentials(address)
    if "://" not in address:
        address = f"file://{machine()}{Path(address).expanduser().absolute().as_posix()}"
    key = "".join("_" if sign in RESTRICTED_ASSET_CHARACTERS else sign for sign in address)
    if key == address and len(key) <= MAX_ASSET_KEY_LENGTH:
        return key
    digest = hashlib.sha256(address.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
    return f"{key[: MAX_ASSET_KEY_LENGTH - _DIGITS - 1]}-{digest}"


@contextmanager
def expert(store: RunStore, name: str) -> Iterator[Facts]:
    """The block makes an expert: of the base, and of its training data or of the source that it is taken from.

    Args:
        store: The run.
        name: The expert's skill, or `ALL_DATA`.

    Yields:
        Facts for the block to fill.
    """
    facts: Facts = {}
    there = any(store.exists(expert_key(name, record)) for record in ("summary.json", "source.json"))
    yield facts
    if there or not has_server():
        return
    with _at_no_cost():
        config = store.config()
        _made(store, f"experts/{name}", _title(name), [_base(config), *_learned(store, config, name)], facts)


def shared_experts(source: RunStore, target: RunStore) -> None:
    """A run has taken over the experts of another.

    Args:
        source: The run that made them.
        target: The run that has them now, too.
    """
    if not has_server():
        return
    with _at_no_cost():
        for name in _names(target.config()):
            _made(target, f"experts/{name}", _title(name), [_key(source, f"experts/{name}")], {})


@contextmanager
def final_model(store: RunStore, identifier: str) -> Iterator[None]:
    """The block exports the final model: of the archives, which are of the experts.

    Args:
        store: The run.
        identifier: The final model's id.
    """
    record = store.individual(identifier)
    there = store.has_exported(record.genome)
    yield
    if there or not has_server():
        return
    with _at_no_cost():
        config = store.config()
        experts = [_key(store, f"experts/{skill}") for skill in config.skill_names]
        _made(store, "archives", "archives", experts, {"generations": len(store.generations())})
        facts: Facts = {"parents": list(record.parents), "coefficients": list(record.coefficients)}
        _made(store, CHECKPOINT_KEY, "final model", [_base(config), _key(store, "archives")], facts)


def report(store: RunStore, facts: Facts) -> None:
    """The report is made: of the final model and of all that it is compared with.

    Args:
        store: The run.
        facts: What it says.
    """
    if not has_server():
        return
    with _at_no_cost():
        config = store.config()
        of = [_key(store, CHECKPOINT_KEY), *(_key(store, f"experts/{name}") for name in _names(config))]
        _made(store, REPORT_KEY, "report", of, facts)


def _names(config: RunConfig) -> list[str]:
    """The skills, and what else the run trains."""
    return [*config.skill_names, *([ALL_DATA] if config.comparison.all_data else [])]


def _title(name: str) -> str:
    return "model of all data" if name == ALL_DATA else f"{name} expert"


@contextmanager
def _at_no_cost() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        log.warning("an asset was not told: %s", error)


def _made(store: RunStore, key: str, title: str, of: Sequence[str], facts: Facts) -> None:
    made = Asset(key=_key(store, key), properties=AssetProperties(name=f"{title} of {store.run_id}"))
    AssetContext(
        downstream_assets={made},
        direct_asset_dependencies={Asset(key=one) for one in of},
        materialized_by="cycleqd",
        materialization_metadata={made.key: {"run": store.run_id, **facts}},
    ).emit_events(Completed())


def _key(store: RunStore, key: str) -> str:
    return asset_key(store.url(key))


def _base(config: RunConfig) -> str:
    return _model(config.model.name, config.model.revision)


def _learned(store: RunStore, config: RunConfig, name: str) -> list[str]:
    """Keys of what an expert was made of beside the base."""
    if name == ALL_DATA:
        found = [key for skill in config.skill_names for key in _data(store, config, skill)]
        return list(dict.fromkeys(found))
    source = config.experts.source_of(name)
    return _data(store, config, name) if source is None else [_model(source)]


def _data(store: RunStore, config: RunConfig, skill: str) -> list[str]:
    given = config.experts.data_of(skill)
    if given is not None:
        places = [source.path or RECIPES[source.recipe].hub_id or source.recipe for source in given.sources]
        return [
            asset_key(place if Path(place).expanduser().exists() else f"hf://datasets/{place}") for place in places
        ]
    if config.model.kind == "segmentation":  # images are not copied into the run
        data = next(one.data for one in config.skills if one.row.name == skill)
        return [asset_key(data or f"{_OWN}skills/{skill}")]
    return [_key(store, expert_key(skill, "demonstrations.json"))]


def _model(name: str, revision: str | None = None) -> str:
    """The key of a base or of an expert's source: a folder, a hub id, or a model that this software brings."""
    if Path(name).expanduser().exists():
        return asset_key(name)
    if name in (*PACKED, TINY_SAM):
        return asset_key(f"{_OWN}models/{name}")
    return asset_key(f"hf://{name}@{revision}" if revision else f"hf://{name}")
