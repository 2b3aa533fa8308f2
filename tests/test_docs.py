"""The documentation keeps to the code: links lead somewhere, and commands can be given as they are written."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from cycleqd.cli import app
from cycleqd.config import PROFILES, load_config
from cycleqd.experiment.plan import SHIPPED, load_experiment
from infra.rooms import README_LINES, read, readme_lines

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deployments/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
INSTALLED_BY_THE_READER = ("hill_climbing", "examples/skill")
"""Names that a page uses and that are known only where an example is installed."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OPERATORS = {";", "|", "||", "&&", "&", ">", ">>", "(", ")", "do", "done"}

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(text):
    """A page without its code blocks."""
    return _FENCE.sub("", text)


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text):
    """The arguments of every `cycleqd ...` in a page's shell blocks."""
    blocks = [code for language, code in _FENCE.findall(text) if language in ("bash", "sh", "")]
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        if "cycleqd" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            continue  # a drawing or a listing
        for position, word in enumerate(words):
            if word == "cycleqd" or word.endswith("bin/cycleqd"):
                before = words[position - 1] if position else ";"
                rest = words[position + 1 :]
                end = next((n for n, other in enumerate(rest) if other in _OPERATORS), len(rest))
                if before in _OPERATORS:
                    yield rest[:end]


def parsed(arguments):
    """What the command line makes of arguments; nothing is executed."""
    command, words = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        assert words, "a command is missing"
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    return command.make_context("cycleqd", words)


def test_the_readme_is_short():
    assert readme_lines() <= README_LINES


@by_page
def test_links_lead_somewhere(page):
    broken = []
    for target in _LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place.read_text())):
            broken.append(target)
    assert broken == []


@by_page
def test_commands_in_code_blocks_exist_with_their_options(page):
    for arguments in commands(page.read_text()):
        context = parsed(arguments)
        if context.params.get("plan") in SHIPPED:
            load_experiment(context.params["plan"])
        config, overrides = context.params.get("config"), context.params.get("overrides")
        if config in PROFILES and not any(name in " ".join(arguments) for name in INSTALLED_BY_THE_READER):
            load_config(config, tuple(re.sub(r"\$\w+", "0", change) for change in overrides or ()))


@by_page
def test_commands_in_the_text_have_the_options_that_are_named(page):
    for code in re.findall(r"`cycleqd ([a-z][^`\n]*)`", prose(page.read_text())):
        words, command = code.split(), typer.main.get_command(app)
        while hasattr(command, "commands"):
            if not words:
                break
            assert words[0] in command.commands, code
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} - known - {"--help"} == set(), code


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["README.md"]


def test_the_architecture_page_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert sorted(room for room in read().rooms if f"`{room}`" not in text) == []


def test_a_command_that_does_not_exist_would_be_found():
    text = "```bash\nexport A=1 && .venv/bin/cycleqd nothing demo > out.txt\n```\n"
    (arguments,) = commands(text)
    assert arguments == ["nothing", "demo"]
    with pytest.raises(AssertionError, match="no command 'nothing'"):
        parsed(arguments)
    with pytest.raises(Exception, match="No such option"):
        parsed(["show", "runs", "--nothing"])
