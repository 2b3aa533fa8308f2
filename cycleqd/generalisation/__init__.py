"""How models do on benchmarks that no skill trained for: the paper's Table 3.

A **benchmark** is a named set of problems with a metric (`Benchmark`, one YAML file each). Most are tasks of
lm-evaluation-harness, an optional library, on the hub's data or on local copies; our engines stand behind its model
interface. HumanEval+ is played as the skill `mbpp_plus` plays it, in the sandbox. **Subjects** are the models of a
run, a checkpoint or an endpoint; their scores are kept by what they depend on, so that nothing is scored twice.
"""
