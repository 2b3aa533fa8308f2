import pytest

from cycleqd.skills.benchmarks.agentbench_db.skill import PROMPT as DB_PROMPT
from cycleqd.skills.benchmarks.agentbench_os.skill import PROMPT as OS_PROMPT
from cycleqd.skills.benchmarks.prompting import conversation


def test_headings_begin_messages_and_the_problem_takes_its_place() -> None:
    template = "=== user ===\nRules.\n=== assistant ===\nYes.\n=== user ===\nProblem: {problem} Go.\n"
    assert conversation(template, "count {problem} \\1") == [
        {"role": "user", "content": "Rules."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Problem: count {problem} \\1 Go."},
    ]


def test_a_text_without_headings_is_the_users_and_the_problem_its_end() -> None:
    assert conversation("Rules.\n", "1 + 1") == [{"role": "user", "content": "Rules.\n\n1 + 1"}]


@pytest.mark.parametrize(
    "template",
    [
        "Rules.\n=== user ===\n{problem}",
        "=== assistant ===\nYes.\n=== user ===\n{problem}",
        "=== user ===\n{problem}\n=== assistant ===\nYes.",
        "=== user ===\na\n=== user ===\n{problem}",
    ],
)
def test_roles_must_alternate_from_user_to_user(template: str) -> None:
    with pytest.raises(ValueError, match="a prompt begins with"):
        conversation(template, "x")


def test_ours_show_the_database_task_without_and_the_shell_task_with_one_example() -> None:
    assert len(conversation(DB_PROMPT.read_text(), "P")) == 3
    shell = conversation(OS_PROMPT.read_text(), "P")
    assert len(shell) == 7
    assert [message["role"] for message in shell] == ["user", "assistant"] * 3 + ["user"]
    assert shell[-1]["content"].endswith("P")
