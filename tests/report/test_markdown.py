"""What models wrote stays text wherever Markdown shows it. Parsed by CommonMark's rules with GitHub's tables."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cycleqd.messages import visible
from cycleqd.report.markdown import code, fenced, plain
from cycleqd.report.reading import evaluation_markdown
from cycleqd.report.tables import TextTable
from cycleqd.report.templates import render
from cycleqd.report.transcripts import transcript_page
from cycleqd.run.records import EpisodeRecord, EvaluationRecord, SampleScore, Score

HOSTILE = [
    "![x](http://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[click][ref]\n\n[ref]: javascript:alert(1)",
    "[ref]: http://evil.example 'x'\n[ref]",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<javascript:alert(1)>",
    "<http://evil.example>",
    "http://evil.example/pixel.png www.evil.example me@evil.example ftp://evil.example HTTPS://EVIL.EXAMPLE",
    "&lt;img src=x&gt; &#60;b&#62;",
    "a | b | ![x](http://evil.example) \\| \\\\| c",
    "```\n![x](http://evil.example)\n```",
    "`````\n</code></pre><img src=x>",
    "~~~\n<img src=x>\n~~~",
    "`![x](http://evil.example)`",
    "``` ` ![x](http://evil.example)",
    "\\![x](http://evil.example)",
    "\\\\[x](javascript:alert(1))",
    "# heading\n## another\n---\n===",
    "**bold** _it_ ~~gone~~ $x$",
    "[^1] [^1]: note",
    "- [ ] box\n1. one",
    "<!-- comment",
    "<?php <![CDATA[ <a href='javascript:alert(1)'>x</a>",
    "line\r\n![x](http://evil.example)\u2028![y](http://evil.example)",
    "\n\n    ![indented](http://evil.example)",
    "\ud83d ![x](http://evil.example)",
]  # fmt: skip
LIVE = {"image", "link_open", "html_inline", "html_block", "em_open", "strong_open", "s_open", "heading_open", "hr"}
# The rule by which GitHub and Prefect's renderer make links of bare addresses.
BARE = re.compile(r"(?:(?:https?|ftp)://|www\.)[\w.-]|[\w.+-]@[\w-]", re.IGNORECASE)
any_text = (
    st.text(max_size=40) | st.text("`*_[]()<>|!&#~\\\n \t:/@.w-=+$ax1\"'", max_size=40) | st.sampled_from(HOSTILE)
)


def parsed(text):
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)


def kinds(tokens):
    return {one.type for token in tokens for one in (token, *(token.children or ()))}


def texts(token):
    return "".join(one.content for one in token.children or () if one.type in ("text", "code_inline", "text_special"))


@given(any_text)
def test_plain_text_is_shown_as_it_stands_in_a_line(text):
    tokens = parsed(f"verdict: {plain(text)} end")
    assert not kinds(tokens) & LIVE
    (line,) = [token for token in tokens if token.type == "inline"]
    assert texts(line).split() == f"verdict: {' '.join(visible(text).split())} end".split()
    assert not BARE.search(plain(text))


@given(any_text, any_text)
def test_plain_text_is_shown_as_it_stands_in_a_table_and_leaves_its_neighbours_alone(text, other):
    tokens = parsed(TextTable("", ("a", "b"), ((text, "1"), (other, "2"))).to_markdown())
    assert not kinds(tokens) & LIVE
    cells = [texts(token) for token in tokens if token.type == "inline"]
    shown = [" ".join(visible(one).split()) for one in (text, other)]
    assert cells == ["a", "b", shown[0], "1", shown[1], "2"]


@given(any_text)
def test_code_is_shown_as_it_stands(text):
    shown = " ".join(visible(text).split())
    tokens = parsed(f"at {code(text)} end")
    assert not kinds(tokens) & LIVE
    if shown:
        (line,) = [token for token in tokens if token.type == "inline"]
        assert [one.content for one in line.children if one.type == "code_inline"] == [shown]


@given(any_text)
def test_nothing_ends_a_fence(text):
    shown = visible(text)
    before, block, after = [token for token in parsed(f"before\n\n{fenced(shown)}\n\nafter") if token.content]
    assert (before.content, block.type, after.content) == ("before", "fence", "after")
    assert block.content == f"{shown}\n"


def evaluated(text):
    record = EvaluationRecord(
        genome="i", skill="os", split="test", score=Score.of([0.0]), data_hash="d", engine="e", batching="strict",
        tokens=1, seconds=1.0, samples=[SampleScore(id=text, score=0.0, reason=text, turns=1, tokens=1)],
    )  # fmt: skip
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return record, [EpisodeRecord(sample=text, template=text, score=0.0, reason=text, messages=messages)]


@pytest.mark.parametrize("text", HOSTILE)
def test_artifact_of_an_evaluation_has_no_image_link_or_html_of_a_models(text):
    record, episodes = evaluated(text)
    whole = evaluation_markdown(record, episodes, individual="g0001", transcripts="s3://bucket/`x`<img>")
    tokens = parsed(whole)
    assert not kinds(tokens) & {"image", "link_open", "html_inline", "html_block"}
    assert sum(token.type == "heading_open" for token in tokens) == 2
    assert sum(token.type == "fence" for token in tokens) == 2
    assert sum(token.type == "tr_open" for token in tokens) == 2
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", whole, flags=re.MULTILINE | re.DOTALL)
    assert not BARE.search(outside.replace("s3://bucket", ""))


@pytest.mark.parametrize("text", HOSTILE)
def test_page_of_transcripts_has_no_image_link_or_script_of_a_models(text):
    record, episodes = evaluated(text)
    page = transcript_page(record, episodes, title="t")
    script = f"<script>{render('transcript.js.j2')}</script>"
    assert page.count(script) == page.lower().count("<script") == 1
    body = page.replace(script, "").lower().partition("<body")[2].replace('<a href="', "")
    for tag in ("<img", "<a href", "<b>", "javascript:alert(1)>"):
        assert tag not in body
    page.encode()
