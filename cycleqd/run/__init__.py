"""What a run is on disk, or in a bucket: names, records, store, genomes, replay, lease, upkeep."""
