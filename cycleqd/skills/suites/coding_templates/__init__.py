"""Problem families of the coding skill: one-line functions with constants that no one could have memorised.

Public: `CODING_TEMPLATES`. A template says in one sentence what a function must do and gives a short gold body,
an independent reference in Python that computes the expected values, and inputs that hit the edges.
"""

from cycleqd.skills.suites.coding_templates.lists import LIST_TEMPLATES
from cycleqd.skills.suites.coding_templates.numbers import NUMBER_TEMPLATES
from cycleqd.skills.suites.coding_templates.strings import STRING_TEMPLATES
from cycleqd.skills.suites.generation import Template

CODING_TEMPLATES: tuple[Template, ...] = (*LIST_TEMPLATES, *STRING_TEMPLATES, *NUMBER_TEMPLATES)

__all__ = ["CODING_TEMPLATES"]
