"""Problem families of the os skill: questions about files and changes to them.

Public: `OS_TEMPLATES`. A template lays out a few small files, asks in one sentence, knows the answer (or the
state after the change) without a shell, and gives one gold command.
"""

from cycleqd.skills.suites.generation import Template
from cycleqd.skills.suites.os_templates.changes import CHANGE_TEMPLATES
from cycleqd.skills.suites.os_templates.questions import QUESTION_TEMPLATES

OS_TEMPLATES: tuple[Template, ...] = (*QUESTION_TEMPLATES, *CHANGE_TEMPLATES)

__all__ = ["OS_TEMPLATES"]
