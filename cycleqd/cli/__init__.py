"""The command line: check a machine, start runs, read their results, take models home.

Exit codes: 0 well; 1 the machine or the run is not fit; 2 wrong usage, configuration, store or infrastructure, told in
one red line; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cycleqd.cli import audit, evaluate, results, start, upkeep
from cycleqd.cli.common import FaultGroup
from cycleqd.cli.compare import compare
from cycleqd.cli.data import data
from cycleqd.cli.experiment import experiment, pairs
from cycleqd.cli.generalise import generalise
from cycleqd.cli.inspect import inspect
from cycleqd.cli.plan import plan
from cycleqd.cli.show import show
from cycleqd.machine.loopback import exempt_loopback

app = typer.Typer(
    cls=FaultGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first run: [bold]cycleqd doctor[/], [bold]cycleqd run demo[/], [bold]cycleqd report demo[/].",
)
app.add_typer(show, name="show")
app.add_typer(data, name="data")


@app.callback()
def main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a fault (before the command).")
    ] = False,
) -> None:
    """Evolve merges of skill experts into one LLM.

    CycleQD fine-tunes one expert per skill, searches for the best merges with Quality-Diversity, scores every child
    by letting it act in real sandboxes, and folds the best ones into one model.
    """
    exempt_loopback()


app.command(epilog="Example: cycleqd doctor demo --set engine.kind=transformers")(start.doctor)
app.command(epilog="Example: cycleqd run demo --set run_id=seed1 --set seed=1")(start.run)
app.command("experiment", epilog="Example: cycleqd experiment table2 --seeds 10,11,12 --out docs/results")(experiment)
app.command("pairs", epilog="Example: cycleqd pairs sam-demo --seeds 0,1,2 --out docs/results")(pairs)
app.command("config", epilog="Example: cycleqd config demo > my.yaml, edit it, cycleqd run my.yaml")(
    start.print_config
)
app.command(epilog="Example: cycleqd report demo")(results.report)
app.command(epilog="Example: cycleqd export demo ./model --elite os, then cycleqd chat ./model")(results.export)
app.command(epilog="Example: cycleqd compare seed0 seed1 cma, cycleqd compare 'nightly-*' --out week.html")(compare)
app.command(epilog='Example: cycleqd chat ./model --prompt "Write a function that adds two numbers."')(results.chat)
app.command(epilog="Example: cycleqd plan demo --evaluators 1,2,4 --like seed0")(plan)
app.command("inspect", epilog="Example: cycleqd inspect ./my-lora someone/other-lora --base ./base")(inspect)
app.command("audit", epilog="Example: cycleqd audit mbpp_plus --data MbppPlus.jsonl.gz --json audit.json")(audit.audit)
app.command(epilog="Example: cycleqd evaluate --endpoint http://localhost:8000/v1 --model NAME --out reference")(
    evaluate.evaluate
)
app.command(
    "generalise", epilog="Example: cycleqd generalise demo --benchmarks mmlu,gsm8k --limit 100 --out docs/results"
)(generalise)
app.command(epilog="Example: cycleqd verify demo --json")(upkeep.verify)
app.command(epilog="Example: cycleqd prune demo --policy keep-every-n --every 50 --dry-run")(upkeep.prune)
app.command(epilog="Example: cycleqd metrics demo")(upkeep.metrics)
