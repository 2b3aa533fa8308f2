"""What a run is on disk, or in a bucket.

`names` spells every id and every key once, and `records` says what the JSON files contain. `store` reads and writes a
run's objects, `genomes` the individuals among them. `replay` rebuilds the search from the commit records. `lease` lets
one process breed and commit at a time. `base_identity` tells base models apart, `clock` counts where the time goes,
and `upkeep` sweeps, checks, prunes and verifies.

Public: `names.RunRef`, `store.RunStore` and `list_runs`, the classes of `records`, `genomes.task_vector`,
`replay.search_after_all`, `lease.Lease`, `upkeep`.
"""
