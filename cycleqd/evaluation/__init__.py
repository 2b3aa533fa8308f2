"""Scoring by acting: playing a split, rounds that share a batch, what a score depends on, the audit of a skill."""
