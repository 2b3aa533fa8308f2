"""A model's folder on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from cycleqd.checkpoint import one_line
from cycleqd.faults import MendableFault


class NotPublished(MendableFault, RuntimeError):
    """A model was exported but not put where it was to go; the text says why."""


def push(folder: Path, repository: str, *, private: bool = True) -> str:
    """Uploads a folder as a model repository, which is made where it is missing.

    The token comes from ``HF_TOKEN`` or ``hf auth login``, the hub's address from ``HF_ENDPOINT``.

    Args:
        folder: What an export wrote.
        repository: ``owner/name``.
        private: Whether a new repository is private; one that exists stays what it is.

    Returns:
        The repository's address.

    Raises:
        NotPublished: The hub refused or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        made = api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, repo_type="model", commit_message="Model by CycleQD")
    except Exception as error:  # the hub client raises a dozen unrelated classes
        raise NotPublished(
            f"{folder} is there, but {repository} was not written on the hub ({one_line(error)}): check the name, the "
            "connection and the token (HF_TOKEN)"
        ) from error
    return str(made)
