"""Tasks of inspect_ai that the tests play."""

import asyncio
import contextlib
import random

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, accuracy, choice, includes, match, model_graded_fact, model_graded_qa, scorer
from inspect_ai.solver import fork, generate, multiple_choice, solver, system_message, use_tools
from inspect_ai.tool import tool
from inspect_ai.util import sandbox


@tool
def add():
    async def execute(x: int, y: int) -> str:
        """Adds two numbers.

        Args:
            x: The first.
            y: The second.
        """
        return str(x + y)

    return execute


@tool
def shell():
    async def execute(command: str) -> str:
        """Runs a command.

        Args:
            command: The command.
        """
        done = await sandbox().exec(["bash", "-c", command], timeout=20)
        return f"{done.returncode}|{done.stdout}|{done.stderr}"

    return execute


def sums_of(size, order=1):
    samples = [
        Sample(input=f"What is {n} + {n + 5}?", target=str(2 * n + 5), files={"note.txt": f"note {n}"})
        for n in range(size)
    ]
    return MemoryDataset(samples[::order])


@task
def sums(size=12, order=1):
    """Tools, and a sandbox with a file."""
    return Task(
        dataset=sums_of(size, order),
        solver=[system_message("You reckon."), use_tools(add(), shell()), generate()],
        scorer=[match(numeric=True), includes()],
        sandbox="docker",
    )


def plain(**changes):
    samples = [Sample(input=f"Say {n}.", target=str(n), id=f"n{n}") for n in range(10)]
    usual = {
        "dataset": MemoryDataset(samples),
        "solver": generate(),
        "scorer": includes(),
        "config": GenerateConfig(max_tokens=4),
    }
    return Task(**usual | changes)


@task
def says():
    return plain()


@task
def looks():
    """A tool in a sandbox that even a model that says nonsense is scored in: the scorer looks, too."""
    return plain(solver=[use_tools(shell()), generate()], scorer=in_sandbox(), sandbox="docker")


@task
def local_sandbox():
    return plain(sandbox="local")


@task
def two_containers():
    return plain(sandbox=("docker", "two.yaml"))


@task
def no_scorer():
    return plain(scorer=None)


@solver
def critic():
    """Asks again in a conversation of its own, then goes on in the first one."""

    async def solve(state, generate):
        state = await generate(state)
        judged = await get_model().generate([ChatMessageUser(content=f"Is it right? {state.output.completion}")])
        state.messages.append(ChatMessageUser(content=f"You said: {judged.completion}. Answer."))
        return await generate(state)

    return solve


@task
def critique():
    return plain(solver=critic())


@solver
def endless():
    async def solve(state, generate):
        while True:
            state = await generate(state)
            state.messages.append(ChatMessageUser(content="Again."))

    return solve


@task
def never_ends():
    return plain(solver=endless())


@solver
def fragile():
    async def solve(state, generate):
        state = await generate(state)
        int(state.output.completion)
        return state

    return solve


@task
def breaks():
    return plain(solver=fragile())


@solver
def dice():
    async def solve(state, generate):
        state.messages[-1].content += f" {random.SystemRandom().random()}"
        return await generate(state)

    return solve


@task
def draws():
    return plain(solver=dice())


@solver
def touching():
    async def solve(state, generate):
        await sandbox().exec(["true"])
        return await generate(state)

    return solve


@task
def touches():
    return plain(solver=touching(), sandbox="docker")


@scorer(metrics=[accuracy()])
def says_what():
    """The score that the reply asks for."""

    async def score(state, target):
        text = state.output.completion
        return Score(value={"P": "P", "N": "N", "true": True, "many": {"a": 1, "b": 0.5}}.get(text, text))

    return score


@scorer(metrics=[accuracy()])
def in_sandbox():
    async def score(state, target):
        await sandbox().write_file("said/reply.txt", state.output.completion)
        kept = await sandbox().read_file("said/reply.txt")
        return Score(value="C" if kept == state.output.completion else "I", answer=kept)

    return score


@task
def graded():
    return plain(scorer=says_what())


async def asks(number):
    return (await get_model().generate([ChatMessageUser(content=f"Side {number}.")])).completion


@solver
def panel(first):
    """Asks three things at once, before or behind the question itself."""

    async def solve(state, generate):
        if not first:
            state = await generate(state)
        said = await asyncio.gather(*(asks(number) for number in range(3)))
        state.messages.append(ChatMessageUser(content=" ".join(said)))
        return await generate(state)

    return solve


@task
def asks_at_once(first=False):
    return plain(solver=panel(first))


@solver
def forked():
    async def solve(state, generate):
        first, second = await fork(state, [ends_with("?"), ends_with("!")])
        state.output = first.output if "?" in first.output.completion else second.output
        return state

    return solve


@solver
def ends_with(mark):
    async def solve(state, generate):
        state.messages[-1].content += mark
        return await generate(state)

    return solve


@task
def forks():
    return plain(solver=forked())


@solver
def hasty():
    """Does not wait for its first reply."""

    async def solve(state, generate):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asks(0), 0.05)
        return await generate(state)

    return solve


@task
def hurries():
    return plain(solver=hasty())


@task
def graded_by_itself(by="qa"):
    scorers = {"qa": model_graded_qa, "fact": model_graded_fact, "own": own_grader, "quiet": quiet_grader}
    return plain(scorer=scorers[by]())


@task
def graded_by_another():
    return plain(scorer=model_graded_qa(model="mockllm/model"))


@task
def graded_by_what_is_not_there():
    return plain(scorer=absent_grader())


@scorer(metrics=[accuracy()])
def own_grader():
    async def score(state, target):
        return Score(value=(await get_model().generate("Right?")).completion)

    return score


@scorer(metrics=[accuracy()])
def quiet_grader():
    """Takes a grader that fails for a wrong answer."""

    async def score(state, target):
        try:
            return Score(value=(await get_model().generate("Right?")).completion)
        except Exception:
            return Score(value="I")

    return score


@scorer(metrics=[accuracy()])
def absent_grader():
    async def score(state, target):
        return Score(value=(await get_model("mistral/large").generate("Right?")).completion)

    return score


def choices(**changes):
    samples = [Sample(input=f"Which, {n}?", choices=["w", "x", "y", "z"], target="B", **changes) for n in range(10)]
    return MemoryDataset(samples)


@task
def shuffles_in_the_solver():
    return plain(dataset=choices(), solver=multiple_choice(shuffle=True), scorer=choice())


@task
def shuffles_in_the_dataset(seed=None):
    dataset = choices()
    dataset.shuffle_choices(seed=seed)
    return plain(dataset=dataset, solver=multiple_choice(), scorer=choice())


@solver
def quitter():
    async def solve(state, generate):
        state = await generate(state)
        raise SystemExit(3)

    return solve


@scorer(metrics=[accuracy()])
def quits():
    async def score(state, target):
        raise KeyboardInterrupt

    return score


@tool
def leave():
    async def execute() -> str:
        """Leaves."""
        raise SystemExit(3)

    return execute


@task
def exits(where="solver"):
    ways = {
        "solver": {"solver": quitter()},
        "scorer": {"scorer": quits()},
        "tool": {"solver": [use_tools(leave()), generate()]},
    }
    return plain(**ways[where])
