import contextvars
import logging

from hypothesis import given
from hypothesis import strategies as st

from cycleqd.telemetry.events import about, event, line, parse


def logged(caplog):
    return [record.getMessage() for record in caplog.records]


def test_event_is_one_line_with_what_it_is_about(caplog):
    with caplog.at_level(logging.INFO), about(run="demo"), about(generation=12):
        event("evaluation_finished", individual="g0012", skill="os", score=0.4583333333, retried=None)
    assert logged(caplog) == [
        "event=evaluation_finished run=demo generation=12 individual=g0012 skill=os score=0.458333"
    ]


def test_what_it_is_about_ends_with_the_block_and_reaches_copied_contexts(caplog):
    with caplog.at_level(logging.INFO):
        with about(run="demo"):
            copied = contextvars.copy_context()
        event("first")
        copied.run(event, "second")
    assert logged(caplog) == ["event=first", "event=second run=demo"]


def test_text_that_is_no_word_is_quoted():
    assert line({"a": "two words", "b": 'say "no"\n', "c": True, "d": ""}) == (
        'a="two words" b="say \\"no\\"\\u{a}" c=true d=""'
    )


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), st.text()))
def test_every_text_comes_back_and_no_line_is_broken(fields):
    text = line(fields)
    assert len(text.splitlines()) <= 1
    assert parse(text) == fields
