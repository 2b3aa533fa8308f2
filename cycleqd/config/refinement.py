"""Settings of the last step: fine-tuning the search's answer on what its children solved."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cycleqd.config.section import Section


class RefinementConfig(Section):
    """Fine-tuning of the search's answer on the episodes that the search solved. Nothing of it is in the paper."""

    epochs: Annotated[float, Field(ge=0)] = 0.0
    """Passes over the solved episodes, one of each optimization sample; 0 leaves the answer as it was merged. Costs
    about as much training as experts of as many conversations."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-4
    """Peak learning rate; all else is as for the experts."""
