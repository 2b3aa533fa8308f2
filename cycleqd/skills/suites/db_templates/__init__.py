"""Problem families of the db skill: questions to one table and changes of it.

Public: `DB_TEMPLATES`. A template draws a small table of a theme, asks in one sentence, knows the answer (or the
table after the change) without a database, and gives one gold statement.
"""

from cycleqd.skills.suites.db_templates.changes import CHANGE_TEMPLATES
from cycleqd.skills.suites.db_templates.questions import QUESTION_TEMPLATES
from cycleqd.skills.suites.generation import Template

DB_TEMPLATES: tuple[Template, ...] = (*QUESTION_TEMPLATES, *CHANGE_TEMPLATES)

__all__ = ["DB_TEMPLATES"]
