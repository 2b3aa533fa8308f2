"""Scoring models by letting them act.

An `Evaluator` (`evaluator`) is a process with one engine and its sandboxes. It opens a `Scope` (`scope`) for each
individual that it scores. `play` plays the samples of a split, and `rounds` forms the strict batches that all skills
of an individual share. `fingerprint` says what a score depends on besides weights and samples, and `agreement` refuses
to mix scores that differ in it. `audit` looks for broken samples of a skill.

Public: `evaluator.evaluator` and `Evaluator`, `scope.Scope`, `play.evaluate`, `audit.audit`, `agreement.OtherScores`.
"""
