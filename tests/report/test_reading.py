from cycleqd.report.reading import SIZE_LIMIT, evaluation_markdown, verdicts_line
from cycleqd.run.records import EpisodeRecord, EvaluationRecord, SampleScore, Score


def evaluation(*scores, reason="a reason"):
    return EvaluationRecord(
        genome="abc",
        skill="os",
        split="optimization",
        score=Score.of(scores),
        samples=[
            SampleScore(id=f"os/{n}", score=score, reason=reason, turns=2, tokens=9) for n, score in enumerate(scores)
        ],
        data_hash="d",
        engine="e",
        batching="strict",
        tokens=18,
        seconds=1.0,
    )


def episode(content, score=0.0):
    messages = [{"role": "user", "content": "List the files."}, {"role": "assistant", "content": content}]
    return EpisodeRecord(sample="os/0", template="list", score=score, reason="wrong", messages=messages)


def test_one_line_tells_solved_from_failed():
    line = verdicts_line(evaluation(1.0, 0.0, reason="exit code 1\nand more " + 100 * "x"))
    assert line.startswith("solved: os/0; failed: os/1 (exit code 1 and more xxx")
    assert "\n" not in line
    assert len(line) < 150


def test_messages_actions_and_verdict_can_be_read():
    text = evaluation_markdown(evaluation(0.0), [episode("Act: bash")], individual="g0001", transcripts="runs/x")
    for part in ("g0001: os, optimization", "List the files.", "Act: bash", "**verdict** 0: wrong", "`runs/x`"):
        assert part in text


def test_what_a_model_wrote_cannot_leave_its_block():
    text = evaluation_markdown(
        evaluation(0.0), [episode("```\n# heading\n````\n<img src=x>")], individual="g", transcripts="t"
    )
    assert "`````text\n```\n# heading" in text


def test_a_long_evaluation_is_cut_and_says_where_the_rest_is():
    text = evaluation_markdown(
        evaluation(0.0), [episode("x" * 30_000) for _ in range(9)], individual="g", transcripts="there"
    )
    assert len(text) < SIZE_LIMIT + 1000
    assert "6 more episodes are in `there`" in text
