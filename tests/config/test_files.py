"""What is no configuration is refused in one line, whatever it is, and a value is never taken for another."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.config import ConfigError, RunConfig, load_config, parse_config
from cycleqd.plain_yaml import MOST_BYTES, read_yaml, write_yaml


def refused(path):
    """The text of the refusal; of some files it never came."""
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    return str(caught.value)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
TOWER = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00", "not a YAML text"),
        (b"PK\x03\x04\x14\x00\x00\x00", "not a YAML text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not UTF-8"),
        (bytes(range(256)), "not UTF-8"),
        ("seed: 1\n".encode("utf-16"), "UTF-16"),
        ("seed: 1\n".encode("utf-16-le"), "not a YAML text"),
        ("seed: 1\n".encode("utf-32"), "UTF-16 or UTF-32"),
        ("run_id: é\n".encode("latin-1"), "not UTF-8"),
        (b"a: " + b"[" * 100_000, "levels"),
        (b"a: " + b"{a: " * 50_000, "levels"),
        (b"".join(b" " * n + b"a:\n" for n in range(400)), "levels"),
        (b"- " * 60_000, "levels"),
        (BOMB.encode(), "too much"),
        (TOWER.encode(), "levels"),
        (b"a: &a [*a]", "alias"),
        (b"a: &a {b: *a}", "alias"),
        (b"a: *nowhere", "alias"),
        (b"a: &a " + b"x" * 5000 + b"\nb: [" + b"*a, " * 5000 + b"]", "too much"),
        (b"x" * (MOST_BYTES + 1), "KiB"),
        (b"a: 1\n---\na: 2\n", "more than one document"),
        (b"a: !!python/object/apply:os.system [id]", "tag"),
        (b"seed: !!int 010", "tag"),
        (b"seed: !!binary aGk=", "tag"),
        (b"a: !!set {b}", "tag"),
        (b"seed: 1\nseed: 2\n", "seed is given twice (line 2"),
        (b"grid: {bins: 3, bins: 4}", "bins is given twice"),
        (b"seed:\t1\n\tgrid: 2", "not valid YAML"),
        (b"\tseed: 1", "not valid YAML"),
        (b"a: [", "not valid YAML"),
        (b"a: 'b", "not valid YAML"),
        (b"1: 2", "a key must be a text"),
        (b"~: 2", "a key must be a text"),
        (b"grid: &g {bins: 3}\narchive: {<<: *g}", "merge keys (<<) are not read: write the settings out (line 2"),
        (b"[a]: 2", "not valid YAML"),
        (b"false", "expected a mapping"),
        (b"0", "expected a mapping"),
        (b"[]", "expected a mapping"),
        (b"text", "expected a mapping"),
    ],
)  # fmt: skip
def test_file_that_is_no_configuration_is_refused_in_one_line(content, said, tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    text = refused(path)
    assert said in text
    assert "\n" not in text
    assert len(text) < 400


def test_refusal_of_a_file_that_is_no_configuration_shows_nothing_of_it(tmp_path):
    path = tmp_path / "shadow"
    for content in ("root:$6$secret:19000:0:99999:7:::\n", "-----BEGIN KEY-----\nsecret: [\n", "secret: 'secret\n"):
        path.write_text(content)
        assert "secret" not in refused(path)


def test_folder_and_what_cannot_be_read_is_refused(tmp_path):
    assert "no such file" in refused(tmp_path)
    assert "no such file" in refused(tmp_path / "a\0b")
    assert "cannot be read" in refused("x" * 5000)


@given(st.binary(max_size=60) | st.text("&*!|>%@{}[]:,-?#\n\t 'a\"\\", max_size=30).map(str.encode))
def test_any_bytes_are_a_configuration_or_refused(content):
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        try:
            load_config(file.name)
        except ConfigError as error:
            str(error).encode()


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\ngrid:\r\n  bins: 4\r\n")
    config = load_config(str(path))
    assert (config.seed, config.grid.bins) == (3, 4)


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "~\n"])
def test_file_that_says_nothing_is_the_defaults(content, tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text(content)
    assert load_config(str(path)) == RunConfig()


NO_INTEGERS = ["010", "0o10", "0x10", "0b1", "1_000", "1:30", "true", "false", "yes", "on", "1.5", "3.0", "1e3", "'5'",
               "", "~", ".inf", ".nan", "2024-01-01", "[1]", "{a: 1}", "１",
               "1,000", "+", "--1", "1 2", "9" * 400]  # fmt: skip


@pytest.mark.parametrize("value", NO_INTEGERS)
def test_what_is_no_integer_is_refused_with_the_fields_path_in_a_file_and_in_a_change(value, tmp_path):
    path = tmp_path / "mine.yaml"
    for field, text in (
        ("seed", f"seed: {value}\n"),
        ("grid.bins", f"grid:\n  bins: {value}\n"),
        ("skills.0.test", f"skills:\n- name: os\n  test: {value}\n"),
    ):
        path.write_text(text)
        if field == "skills.0.test" and value in ("", "~"):
            continue  # where nothing means a default
        assert f"  {field}: " in refused(path)
        with pytest.raises(ConfigError, match=f"  {field}: "):
            load_config("demo", (f"{field}={value}",))


@pytest.mark.parametrize(
    "value", ["05.5", "1_0.5", "true", "no", "1:30.5", "'0.5'", "nan", "inf", ".inf", "-.INF", ".nan", "", "1e999"]
)
def test_what_is_no_number_is_refused_with_the_fields_path(value):
    for field in ("experts.alpha", "experts.epochs_by_skill.os", "crossover.mu"):
        with pytest.raises(ConfigError, match=f"  {field}: "):
            load_config("demo", (f"{field}={value}",))


@pytest.mark.parametrize("value", ["yes", "on", "1", "0", "y", "'true'", "", "1.0"])
def test_what_is_no_truth_value_is_refused_with_the_fields_path(value):
    with pytest.raises(ConfigError, match=r"  experts\.packing: "):
        load_config("demo", (f"experts.packing={value}",))


@pytest.mark.parametrize("value", ["no", "on", "true", "~", "1", ""])
def test_what_is_no_skill_is_refused_with_the_fields_path(value):
    with pytest.raises(ConfigError, match=r"  skills\.0\.name: "):
        load_config("demo", (f"skills.0.name={value}",))


@pytest.mark.parametrize(
    ("value", "number"), [("5e-4", 5e-4), ("1", 1.0), (".5", 0.5), ("+0.25", 0.25), ("1.", 1.0), ("1.5E+1", 15.0)]
)
def test_numbers_as_people_write_them_are_read(value, number):
    assert load_config("demo", (f"experts.alpha={value}",)).experts.alpha == number


@pytest.mark.parametrize("name", ["010", "no", "on", "1e3", "2024-01-01", "0x10", "1_0", "1.5", "null", "true", "0o7"])
def test_text_that_looks_like_something_else_survives_the_round_trip(name, tmp_path):
    path = tmp_path / "mine.yaml"
    config = parse_config({"run_id": name})
    path.write_text(config.to_yaml())
    assert load_config(str(path)) == config
    assert yaml.safe_load(config.to_yaml())["run_id"] == name  # readers of YAML 1.1 agree


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_written_yaml_is_read_back_as_it_was(data):
    try:
        found = read_yaml(write_yaml(data), "here")
    except ConfigError as error:
        assert "not a YAML text" in str(error)  # noqa: PT017 -- control characters that PyYAML leaves as they are
        return
    assert found == data
    assert type(found) is type(data)


def test_other_types_are_refused_in_plain_data_too():
    for data in (
        {"seed": True},
        {"seed": "1"},
        {"seed": 1.0},
        {"grid": {"lower": "0.5"}},
        {"experts": {"packing": 1}},
    ):
        with pytest.raises(ConfigError):
            parse_config(data)
    assert math.isclose(parse_config({"grid": {"lower": 0}}).grid.lower, 0.0)


def test_aliases_are_read_and_a_change_to_one_leaves_the_other(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "skills: [{name: mbpp_plus}, {name: os}]\n"
        "experts:\n  data:\n    mbpp_plus: &d {sources: [{recipe: agent_flan}]}\n    os: *d\n"
    )
    config = load_config(str(path), ("experts.data.os.max_length=99",))
    assert (config.experts.max_length_of("os"), config.experts.max_length_of("mbpp_plus")) == (99, 512)


@pytest.mark.parametrize(
    "override",
    ["seed=[1", "seed='", "seed=*a", "seed=&a [*a]", "seed=!!int 1", "a: b", "=1", ".=1", "seed.=1",
     "skills.-1.test=1", "skills.².test=1", "skills.99999999999.test=1", "x." * 5000 + "x=1", "seed=" + "[" * 5000,
     "seed={a: 1, a: 2}", "seed=\0"],
)  # fmt: skip
def test_change_that_cannot_be_meant_is_refused_in_one_line(override):
    with pytest.raises(ConfigError) as caught:
        load_config("demo", (override,))
    assert "override" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


SECRET = "hunter2-hunter2"  # noqa: S105 -- of nobody


@pytest.mark.parametrize(
    "data",
    [
        {"storage": f"s3://key:{SECRET}@bucket/runs"},
        {"storage": {"key": "AK", "secret": SECRET}},
        {"storage_options": {"secret": SECRET}},
        {"api_key": SECRET},
        {"model": {"token": SECRET}},
        {"model": [SECRET]},
        {"seed": f"https://user:{SECRET}@host/"},
    ],
)
def test_faults_do_not_show_what_may_be_a_password(data):
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    assert SECRET not in str(caught.value)


def test_change_that_leads_nowhere_does_not_show_its_password():
    with pytest.raises(ConfigError) as caught:
        load_config("demo", (f"storage .x=s3://key:{SECRET}@bucket",))
    assert SECRET not in str(caught.value)


def test_very_many_faults_are_counted_not_all_listed():
    with pytest.raises(ConfigError) as caught:
        parse_config({f"x{n}": n for n in range(5000)})
    assert "5000 fault(s)" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 60
