"""Individuals of a run: their task vectors (genomes) beside their recipes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cycleqd.run.names import BASES_KEY, SPECTRAL_KEY, genome_key, individual_key, own_bases_key, spectral_key
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore
from cycleqd.task_vector import SharedBases, SpectralBases, TaskVector, load_task_vector


def add_individual(store: RunStore, vector: TaskVector, record: IndividualRecord) -> IndividualRecord:
    """Writes genome, then recipe, in place of earlier or half-written ones; fills in the genome's hash."""
    store.remove(individual_key(record.id))  # no recipe without its genome, even for a moment
    with store.writing(genome_key(record.id), replace=True) as path:
        vector.save(path)
    record = record.model_copy(update={"genome": vector.hash()})
    store.write_individual(record)
    return record


def save_bases(store: RunStore, bases: SharedBases, *, of: str | None = None) -> None:
    """Writes the bases that the run's factored task vectors share, in place of half-written ones.

    Args:
        store: The run.
        bases: The bases.
        of: The one individual that they are of, where it is not made of the experts.
    """
    with store.writing(own_bases_key(of) if of else BASES_KEY, replace=True) as path:
        bases.save(path)
    _bases.cache_clear()  # the same path may hold others now


def keep_bases(store: RunStore, parent: str, identifier: str) -> None:
    """Gives an individual the bases that its only parent has for itself, or none where the parent has none."""
    if store.exists(own_bases_key(parent)):
        save_bases(store, SharedBases.load(store.local(own_bases_key(parent))), of=identifier)
    else:
        store.remove(own_bases_key(identifier))


def task_vector(store: RunStore, identifier: str) -> TaskVector:
    """The task vector of an individual.

    Raises:
        StoreError: There is no such individual.
    """
    path = store.local(genome_key(identifier))
    for key in (own_bases_key(identifier), BASES_KEY):
        if store.exists(key):
            return load_task_vector(path, _bases(store.local(key)))
    return load_task_vector(path, spectral_bases(store) if store.exists(SPECTRAL_KEY) else None)


def spectral_bases(store: RunStore) -> SpectralBases:
    """The decompositions of the experts' changes that the run's spectral task vectors share.

    Raises:
        StoreError: They are not all there.
    """
    known = store.read_json(SPECTRAL_KEY)
    files = tuple((name, store.local(spectral_key(name))) for name in known["parameters"])
    return _spectral(tuple(known["experts"]), files)


@lru_cache(maxsize=1)
def _spectral(experts: tuple[str, ...], files: tuple[tuple[str, Path], ...]) -> SpectralBases:
    return SpectralBases(experts, dict(files))


@lru_cache(maxsize=1)
def _bases(path: Path) -> SharedBases:
    return SharedBases.load(path)
