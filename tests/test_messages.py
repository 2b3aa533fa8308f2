"""Halves of surrogate pairs: replaced wherever text comes in, so that nothing behind has to mind them."""

import json
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from cycleqd.messages import visible, whole_text, whole_texts
from cycleqd.models.causal_lm.protocol import Reply
from cycleqd.models.causal_lm.rendering import render
from cycleqd.run.records import EpisodeRecord, SampleScore, pack_episodes, unpack_episodes

any_text = st.text(st.characters() | st.sampled_from("\ud83d\ude00\udfff\x1b\u2028"), max_size=20)
"""Also texts that no encoding takes."""


@given(any_text)
def test_whole_text_can_be_encoded_and_text_that_could_stays_as_it_is(text):
    whole = whole_text(text)
    assert whole.encode().decode() == whole
    assert whole_text(whole) == whole
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "\ufffd" in whole or len(whole) < len(text)  # two halves became one letter
    else:
        assert whole == text


def test_halves_that_belong_together_are_joined():
    assert whole_text("a\ud83d\ude00b\ud83d") == "a\U0001f600b\ufffd"


@given(
    st.recursive(
        any_text | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(any_text, inner)
    )
)
def test_whole_texts_can_be_written_whatever_the_data(data):
    json.dumps(whole_texts(data), ensure_ascii=False).encode()


@given(any_text)
def test_a_reply_is_whole_whoever_made_it(text):
    reply = Reply(text, 1, 2, "stop")
    assert reply.text.encode().decode() == whole_text(text)
    assert reply == (whole_text(text), 1, 2, "stop")


@given(any_text)
def test_episodes_and_verdicts_are_recorded_whatever_was_said(text):
    messages = [{"role": "assistant", "content": text}]
    episode = EpisodeRecord(sample=text, template=text, score=1.0, reason=text, messages=messages)
    assert unpack_episodes(pack_episodes([episode])) == [episode]
    score = SampleScore(id="a", score=0.0, reason=text, turns=1, tokens=1)
    assert SampleScore.model_validate_json(score.model_dump_json()) == score


@given(any_text)
def test_a_tokenizer_is_shown_whole_text_only(text):
    def tokenize(shown, add_special_tokens):
        return {"input_ids": list(shown.encode())}

    class Tokenizer(SimpleNamespace):
        __call__ = staticmethod(tokenize)

    tokenizer = Tokenizer(chat_template="x", apply_chat_template=lambda messages, **_: messages[0]["content"])
    assert bytes(render(tokenizer, [{"role": "user", "content": text}], reply_follows=True)).decode() == whole_text(
        text
    )


@given(any_text)
def test_what_a_terminal_shows_can_be_encoded_and_holds_no_control_characters(text):
    shown = visible(text)
    shown.encode()
    assert not set(shown) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x202E, 0x2066]))
