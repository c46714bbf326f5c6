"""One reader of values: what people write means the same for hyper-parameters, --env, --wrapper and in calls."""

import ast
import json
import math
import re

import gymnasium as gym
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bellmax as bx
from bellmax.agent_config import build
from bellmax.cli import main
from bellmax.command import read_env, read_seeds
from bellmax.literals import whole_number
from bellmax.sources import find_world
from bellmax.values import read_as, read_value

MEANT = {
    "5": 5,
    "-3": -3,
    "+2": 2,
    "1_000": 1000,
    "1e5": 100_000,
    "0x1F": 31,
    "0b11": 3,
    "0O17": 15,
    "-0b11": -3,
    "0.5": 0.5,
    "1e-3": 0.001,
    "1.5e3": 1500.0,
    "-inf": -math.inf,
    "True": True,
    "false": False,
    "FALSE": False,
    "None": None,
    "null": None,
    "8x8": "8x8",
    "007": "007",
    "1/3": "1/3",
    "a,b": "a,b",
    "it's": "it's",
    "Größe": "Größe",
    "½": "½",
    "0x": "0x",
    "2024-01-01": "2024-01-01",
    "maps (1).txt": "maps (1).txt",
    "": "",
    '"no"': "no",
    "'1'": "1",
    "64,64": (64, 64),
    "(64, 64)": (64, 64),
    "[64,64]": [64, 64],
    "[1e3, -2, .5]": [1000, -2, 0.5],
    "[True, null]": [True, None],
    "[true, None]": [True, None],
    '["SFFF","FHFG"]': ["SFFF", "FHFG"],
    "['SFFF', 'FHFG']": ["SFFF", "FHFG"],
    "{'a': (1, 2)}": {"a": (1, 2)},
    '{"name": "TimeLimit", "max_episode_steps": 1e2}': {"name": "TimeLimit", "max_episode_steps": 100},
}
NEITHER = {
    "[1,": "'[' is not closed at character 1",
    "True,": "a value is missing at character 6",
    "1,,2": "a value is missing at character 3",
    "[1,2": "'[' is not closed at character 1",
    "(1]": "']' closes nothing at character 3",
    "64)": "')' closes nothing at character 3",
    '{"a": 1': "'{' is not closed at character 1",
    '"abc': "the quote is not closed that opens at character 1",
    "'abc": "the quote is not closed that opens at character 1",
    'abc"': "the quote is not closed that opens at character 4",
    "[SFFF]": "'SFFF' is not a value at character 2",
    "[1 2]": "at character 2",
    "[1+2]": "'1+2' is not a value at character 2",
    "{1, 2}": "is not a value at character 1",
    "[f(1)]": "'f(1)' is not a value at character 2",
    '{"a": 1, "a": 2}': "the key 'a' comes twice",
    "no": "write false",
    "On": "write true",
    "1,000": "write 1_000 for one number",
    "1_000_": "underscore in the wrong place",
    "1e400": "beyond the largest number",
    "[" * 100_000: "brackets",
    **dict.fromkeys(
        (
            "1j",
            "2**3",
            "10 % 3",
            "10%",
            "1 000",
            'b"x"',
            "r'x'",
            "np.inf",
            "math.pi",
            'float("inf")',
            "range(3)",
            "set()",
            "dict(a=1)",
            "np.array([1])",
            "lambda: 1",
            "0b2",
            "0o9",
            "--3",
            "+-3",
            "not True",
        ),
        "looks like Python",
    ),
    **dict.fromkeys(("−5", "５", "٣", "5\u200b", "1，2", "“5”", "−inf", "–1e5"), "in other letters; write "),
    "[1]#x": "text follows the value at character 4",
    "[1, # one": "at character",
    '"a" "b"': "a comma is missing between two strings at character 5",
    "['a' 'b']": "a comma is missing between two strings at character 6",
}


@pytest.mark.parametrize("text", MEANT)
def test_what_is_written_is_what_is_meant(text: str) -> None:
    assert read_value(text) == MEANT[text]
    assert type(read_value(text)) is type(MEANT[text])
    assert read_env((f"key={text}",)) == {"key": MEANT[text]}


@pytest.mark.parametrize("text", ['b"x"', "np.inf", "1 000", "lambda: 1"])
def test_the_quotes_that_a_message_offers_make_a_string(text: str) -> None:
    with pytest.raises(ValueError, match="looks like Python") as caught:
        read_value(text)
    offered = ast.literal_eval(
        str(caught.value).partition(", or ")[2].removesuffix(" for the string").split(", or ")[-1]
    )
    assert read_value(offered) == text


@pytest.mark.parametrize("text", NEITHER, ids=lambda text: text[:20])
def test_what_looks_like_a_value_and_is_none_is_an_error_that_shows_where(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(NEITHER[text])) as caught:
        read_value(text)
    assert len(str(caught.value)) < 250
    with pytest.raises(bx.ConfigError, match="--env key="):
        read_env((f"key={text}",))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(JSON)
def test_json_and_python_both_come_back(value: object) -> None:
    if isinstance(value, str | list | dict):
        assert read_value(json.dumps(value)) == value
        assert read_value(repr(value)) == value
    else:
        assert read_value(repr(value)) == value


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_value, lambda text: read_as(text, tuple[int, ...]), lambda text: read_as(text, float)):
        try:
            read(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - anything else that is raised fails the test


@pytest.mark.parametrize("written", ["64,64", "(64,64)", "[64, 64]", "[6.4e1, 64]", [64, 64], np.array([64, 64])])
def test_layers(written: object) -> None:
    assert build(bx.DQN, {"net_arch": written}).net_arch == (64, 64)
    if not isinstance(written, str):
        assert bx.DQN(net_arch=written).net_arch == (64, 64)


@pytest.mark.parametrize("written", ["1e5", "100_000", "1.0e5", 1e5, np.int64(100_000), np.float32(1e5)])
def test_whole_numbers(written: object) -> None:
    config = build(bx.DQN, {"buffer_size": written})
    assert (config.buffer_size, type(config.buffer_size)) == (100_000, int)
    if not isinstance(written, str):
        assert type(bx.DQN(buffer_size=written).buffer_size) is int


@pytest.mark.parametrize(
    ("field", "written"),
    [("buffer_size", "1.5"), ("buffer_size", 1.5), ("buffer_size", "True"), ("double", "1"), ("double", 1),
     ("double", "yes"), ("gamma", "true"), ("gamma", "high"), ("net_arch", "[64,"), ("net_arch", "64,wide"),
     ("loss", "'huber"), ("buffer_size", np.True_)],
)  # fmt: skip
def test_the_wrong_type_is_named(field: str, written: object) -> None:
    with pytest.raises(bx.ConfigError, match=rf"^{field}="):
        build(bx.DQN, {field: written})


def test_numpy_and_none() -> None:
    assert type(build(bx.DQN, {"gamma": np.float64(0.5)}).gamma) is float
    assert build(bx.DQN, {"double": np.True_}).double is True
    assert read_as("None", int | None) is None
    assert read_as("3", int | None) == 3
    assert read_as("0.5", float | str) == 0.5
    assert [whole_number(x) for x in (True, 2.0, np.int8(3), 2.5, "a")] == [True, 2, 3, 2.5, "a"]


def test_steps_and_seeds_in_calls() -> None:
    run = bx.train("cliff", "q-learning", steps=2e3, seeds=np.array([3, 5]), final_episodes=np.int32(0))
    assert (run.steps, run.seeds) == (2000, [3, 5])
    for wrong in (True, 2.5, "3", [1.5], [True], {"a": 1}):
        with pytest.raises(bx.ConfigError, match="seeds"):
            bx.train("cliff", "q-learning", steps=100, seeds=wrong)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("3", 3), ("1e2", 100), ("0,5,7", [0, 5, 7]), ("[4]", [4]), ("(1, 2)", [1, 2])],
)
def test_seeds_on_the_command_line(written: str, meant: object) -> None:
    assert read_seeds(written) == meant


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(words))
    return done.exit_code, done.output


def test_an_argument_of_the_environment_is_what_it_says() -> None:
    code, text = invoke("solve", "FrozenLake-v1", "--gamma", "0.9", "--env", "is_slippery=False", "--json")
    assert code == 0
    assert json.loads(text)["start_value"] == pytest.approx(0.9**5, abs=1e-9)
    code, text = invoke("solve", "FrozenLake-v1", "--env", "map_name=8x8", "--env", "is_slippery=FALSE", "--json")
    assert json.loads(text)["states"] == 64
    code, text = invoke("solve", "FrozenLake-v1", "--env", "desc=['SF', 'FG']", "--env", "is_slippery=false", "--json")
    assert (json.loads(text)["states"], json.loads(text)["start_value"]) == (4, pytest.approx(0.99))
    code, text = invoke("solve", "FrozenLake-v1", "--env", "is_slippery=no")
    assert (code, "write false" in text) == (2, True)
    code, text = invoke("solve", "FrozenLake-v1", "--env", "is_slippery=true", "--env", "is_slippery=false")
    assert (code, "is given twice" in text) == (2, True)


def test_a_string_for_a_switch_is_remarked_on() -> None:
    for kwargs in ({"is_slippery": "maybe"}, {"is_slippery": "False"}):
        with pytest.warns(bx.EnvWarning, match="is a string, which counts as true, where the default is True"):
            find_world("FrozenLake-v1", kwargs)
    find_world("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False})


def test_rain_and_buffers_on_the_command_line(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    taxi = next(name for name in gym.registry if name.startswith("Taxi-v"))
    words = ["--agent", "q-learning", "--steps", "1e3", "--seeds", "2,5", "--env", "is_rainy=False", "--out", "taxi"]
    code, text = invoke("train", taxi, *words, "--final-episodes", "0")
    assert code == 0, text
    run = bx.load("taxi")
    assert (run.steps, run.seeds, run.env_kwargs) == (1000, [2, 5], {"is_rainy": False})
    short = ["--steps", "1000", "--eval-episodes", "0", "--final-episodes", "1", "--out", "pole"]
    code, text = invoke("train", "CartPole-v1", "buffer_size=1e5", "net_arch=[8]", *short)
    assert code == 0, text
    assert (bx.load("pole").config.buffer_size, bx.load("pole").config.net_arch) == (100_000, (8,))
    wrapper = '{"name": "TimeLimit", "max_episode_steps": 1e1'
    code, text = invoke("train", "CartPole-v1", "--wrapper", wrapper)
    assert (code, "'{' is not closed" in text) == (2, True)
