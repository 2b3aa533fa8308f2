"""Taking a model where people look: its card, its recipe for mergekit, the hub, GGUF.

Public: `write_card`, which every export calls; `push` (to the hub); `write_gguf` (through llama.cpp's converter).
"""

from cycleqd.publishing.card import write_card
from cycleqd.publishing.gguf import write_gguf
from cycleqd.publishing.hub import NotPublished, push

__all__ = ["NotPublished", "push", "write_card", "write_gguf"]
