import pytest
from prefect import flow, task

from cycleqd.evaluation.play import EvaluationStopped
from cycleqd.sandbox import SandboxUnavailable
from tasks.options import is_infrastructure_fault


@pytest.mark.usefixtures("prefect_harness")
@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        (SandboxUnavailable("the container is gone"), 3),
        (ConnectionError("reset by peer"), 3),
        (ValueError("a wrong setting stays wrong"), 1),
        (EvaluationStopped("the run is being stopped"), 1),
    ],
)
def test_only_faults_of_the_infrastructure_are_retried(fault, attempts):
    tried = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=is_infrastructure_fault)
    def fail():
        tried.append(1)
        raise fault

    @flow
    def run():
        fail()

    with pytest.raises(type(fault)):
        run()
    assert len(tried) == attempts
