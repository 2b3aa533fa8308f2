"""Rows of an embedding, or of an output head, by token: a source's vocabulary may be resized, padded or moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from cycleqd.checkpoint import EMBEDDINGS, HEADS, one_line
from cycleqd.experts.sources.protocol import SourceInvalid
from cycleqd.models.causal_lm.rendering import load_tokenizer

_LIKE_HEADS: Final = (*HEADS, "lm_head.bias", "embed_out.bias")
_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_LEAST_SHARED: Final = 0.5
"""Of the base's tokens; whoever shares fewer has another vocabulary, whatever the tokens in common mean."""


def is_by_token(name: str) -> bool:
    """Whether a parameter has a row for each token."""
    return name.endswith((*EMBEDDINGS, *_LIKE_HEADS))


class Vocabulary:
    """Which rows of a source are which rows of the base.

    Args:
        base: The base's checkpoint directory.
        source: The source's folder, whose tokenizer says what its rows are.

    Attributes:
        moved: Whether any parameter's rows were found by token rather than by position.
    """

    def __init__(self, base: Path, source: Path) -> None:
        self._base, self._source = base, source
        self.moved = False
        self._tokens: tuple[dict[str, int], dict[str, int]] | None = None

    def take(self, name: str, stored: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """A source's parameter with the base's rows: by token, and the base's own where the source has no such token.

        Args:
            name: The parameter, for messages.
            stored: The source's, a row for each of its tokens.
            base: The base's.

        Raises:
            SourceInvalid: Nothing says which row is which token, or the vocabularies are different ones.
        """
        rows = self.rows(name, len(stored), len(base))
        if rows is None:
            return stored
        known = rows >= 0
        taken = base.to(stored.dtype, copy=True)
        taken[known] = stored[rows[known]]
        return taken

    def rows(self, name: str, theirs: int, ours: int) -> torch.Tensor | None:
        """For each of the base's rows the source's, -1 where it has none; None where positions agree."""
        if not any((self._source / file).is_file() for file in _FILES):
            if theirs == ours:
                return None
            raise SourceInvalid(
                f"expert source {self._source}: {name} has {theirs} rows, the base's has {ours}, and no tokenizer "
                "says which row is which token: put the expert's tokenizer files into its folder"
            )
        base, source = self._vocabularies()
        # A token that only the source knows may lie where the base pads: then that row is no padding any more.
        agree = base.items() <= source.items() and all(source[token] >= ours for token in source.keys() - base.keys())
        if agree and theirs == ours:
            return None
        self.moved = True
        shared = sum(token in source for token in base)
        if shared < _LEAST_SHARED * len(base):
            missing = next(token for token in base if token not in source)
            raise SourceInvalid(
                f"expert source {self._source}: it knows {shared} of the base's {len(base)} tokens (not "
                f"{missing!r:.40}, for one): another vocabulary cannot be merged"
            )
        rows = torch.full((ours,), -1, dtype=torch.long)
        if theirs == ours:  # rows without a token on either side, which pad, have nothing but their position
            rows = torch.arange(ours)
            rows[[place for place in {*base.values(), *source.values()} if place < ours]] = -1
        for token, place in base.items():
            there = source.get(token, -1)
            if place < ours and there < theirs:
                rows[place] = there
        return rows

    def notes(self) -> tuple[str, ...]:
        """Which tokens only one of the two knows; empty where the vocabularies were never compared."""
        if self._tokens is None:
            return ()
        base, source = self._tokens
        return tuple(
            f"{len(alone)} tokens are unknown to {whom}, {what}: {', '.join(sorted(alone)[:5])}"
            for alone, whom, what in (
                (source.keys() - base.keys(), "the base", "so their rows are left out"),
                (base.keys() - source.keys(), "the expert", "so the base's rows stay"),
            )
            if alone
        )

    def _vocabularies(self) -> tuple[dict[str, int], dict[str, int]]:
        if self._tokens is None:
            self._tokens = (_vocabulary(self._base), _vocabulary(self._source))
        return self._tokens


def _vocabulary(folder: Path) -> dict[str, int]:
    try:
        tokenizer: Any = load_tokenizer(folder)
        return dict(tokenizer.get_vocab())
    except Exception as error:  # libraries raise all classes over what is in a file
        raise SourceInvalid(f"expert source {folder}: its tokenizer cannot be loaded ({one_line(error)})") from None
