"""Hyper-parameters of every agent: they survive files and the command line, and nothing wrong gets through."""

import dataclasses
import difflib
import json
import math
import re

import pytest

import bellmax as bx
from bellmax.agent_config import AgentConfig, build, choices, describe_settings, hints
from bellmax.catalog import AGENTS, agent_class, make_agent

CLASSES = {name: agent_class(name) for name in AGENTS}


def owner(cls: type, field: dataclasses.Field) -> type:
    """The class that declares the setting with these rules; those between it and `cls` at most move its default."""
    rules = (field.metadata, field.type)
    same = [c for c in cls.__mro__ if dataclasses.is_dataclass(c)
            and any(f.name == field.name and (f.metadata, f.type) == rules for f in dataclasses.fields(c))]  # fmt: skip
    return same[-1]


def declared() -> list[tuple[str, str]]:
    """(agent, field) of each setting, once: with the first agent that has it from the class that declares it."""
    found: dict[tuple[type, str], str] = {}
    for name, cls in CLASSES.items():
        for field in dataclasses.fields(cls):
            found.setdefault((owner(cls, field), field.name), name)
    return [(name, field) for (_, field), name in found.items()]


FIELDS = declared()


def other_value(cls: type, field: dataclasses.Field) -> object:
    """A valid value that is not the default."""
    kind, meta = hints(cls)[field.name], field.metadata
    if names := choices(cls)[field.name]:
        return next(name for name in names if name != field.default)
    if kind is bool:
        return not field.default
    if kind is str:
        return {"network": "mlp", "optimizer": "sgd"}[field.name]
    if kind == tuple[int, ...]:
        return (*field.default, 7)
    if kind == tuple[float, ...]:
        return (1.0,) if field.name == "obs_low" else (2.5,)
    if kind is int:
        return field.default + 1
    return field.default / 2 if field.default else min(0.25, meta["high"])


KEPT = {"munchausen", "recurrent", "noisy"}  # cannot go together with the other value of another switch
ROOM = {  # for the lowest or highest value of a field, what its rules want of others
    "batch_size": {"buffer_size": 10**9},
    "num_envs": {"buffer_size": 10**9, "exploration": "epsilon-greedy", "recurrent": "none"},
    "buffer_size": {"batch_size": 1, "n_steps": 1, "recurrent": "none", "num_envs": 1, "exploration": "epsilon-greedy"},
    "learning_starts": {"recurrent": "none"},
    "sequence_length": {"n_steps": 1},
    "exploration_decay": {
        "exploration_schedule": "per-episode",
        "exploration_initial_eps": 0.05,
        "exploration_final_eps": 0.05,
    },
}


def all_changed(cls: type) -> dict[str, object]:
    """As many fields as can be, with values that are not their defaults."""
    changed = {f.name: other_value(cls, f) for f in dataclasses.fields(cls) if f.name not in KEPT}
    if "exploration_decay" in changed:
        changed["exploration_schedule"] = "per-episode"
    if "minibatches" in changed:
        changed["minibatches"] = 1
    if hasattr(cls, "n_members"):
        del changed["weight_decay"]
    if hasattr(cls, "epochs"):
        del changed["gradient_steps"]
    if cls.name == "bcq":
        del changed["conservative_weight"]
    if cls.name == "r2d2":
        del changed["anneal_interval"]
    if cls.name == "munchausen-dqn":
        changed["munchausen"] = False  # it would not go with double
    if cls.name == "bootstrapped-dqn":
        changed["normalize_observations"] = False  # its priors see observations as they are
    return changed


def edges(cls: type, field: dataclasses.Field) -> list[object]:
    """The lowest and the highest valid value of a setting of numbers, where there are such."""
    kind = hints(cls)[field.name]
    if kind in (bool, str):
        return []
    item = float if kind in (float, tuple[float, ...]) else int
    ends = [item(end) for end in (field.metadata["low"], field.metadata["high"]) if math.isfinite(end)]
    if field.name == "gamma" and hasattr(cls, "v_max"):
        ends.remove(1.0)  # that needs less
    return list(ends) if kind in (float, int) else [(end,) for end in ends]


def wrong_types(kind: object) -> list[object]:
    if kind is bool:
        return [1, 0.0, "yes", None]
    if kind is int:
        return [True, 1.5, "1.5", "many", "inf", None, [1]]
    if kind is float:
        return [True, "fast", None, [0.5]]
    if kind is str:
        return [True, 1, None]
    return [3, ["a"], "64,wide", [True], None, *([[1.5]] if kind == tuple[int, ...] else [])]


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_leaves_both_ends_of_each_range_open(name: str) -> None:
    """What a setting refuses is tested where it is declared; what an agent's own rules refuse, here."""
    cls = CLASSES[name]
    for field in dataclasses.fields(cls):
        for edge in edges(cls, field):
            neighbors = {k: v for k, v in ROOM.get(field.name, {}).items() if k in hints(cls)}
            assert getattr(build(cls, {field.name: edge, **neighbors}), field.name) == edge


@pytest.mark.parametrize("name", AGENTS)
def test_every_config_survives_json(name: str) -> None:
    cls = CLASSES[name]
    changed = all_changed(cls)
    for config in (make_agent(name, "", {}), cls(**changed)):
        again = build(cls, json.loads(json.dumps(dataclasses.asdict(config))))
        assert again == config
        assert hash(again) == hash(config)  # lists in place of tuples would not hash
    assert cls(**changed) != cls()


@pytest.mark.parametrize("name", AGENTS)
def test_every_config_can_be_written_on_the_command_line(name: str) -> None:
    cls = CLASSES[name]
    changed = all_changed(cls)
    words = {k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v).lower() for k, v in changed.items()}
    assert build(cls, words) == cls(**changed)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_mistyped_name_gets_the_nearest(name: str, field: str) -> None:
    middle = len(field) // 2
    swapped = field[: middle - 1] + field[middle] + field[middle - 1] + field[middle + 1 :]
    typos = {field[:middle] + field[middle + 1 :], field + "s", field.upper() if len(field) < 3 else swapped} - {field}
    for typo in typos - set(hints(CLASSES[name])):
        if difflib.get_close_matches(typo, hints(CLASSES[name]), n=1, cutoff=0.5) == [field]:
            message = f"unknown hyper-parameter '{typo}'; did you mean '{field}'?"
        else:  # learning_rate_schedule without a letter may be nearer to another name, but never without an offer
            message = f"unknown hyper-parameter '{typo}'; "
        with pytest.raises(bx.ConfigError, match=re.escape(message)):
            build(CLASSES[name], {typo: 1})


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_wrong_type_is_refused_and_named(name: str, field: str) -> None:
    for wrong in wrong_types(hints(CLASSES[name])[field]):
        if field == "bins" and wrong == 3:
            continue  # one number for all dimensions
        with pytest.raises(bx.ConfigError, match=rf"\b{field}=") as caught:
            build(CLASSES[name], {field: wrong})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_ranges_are_closed_and_nothing_is_nan_or_infinite(name: str, field: str) -> None:
    cls = CLASSES[name]
    described = next(f for f in dataclasses.fields(cls) if f.name == field)
    kind, low, high = hints(cls)[field], described.metadata["low"], described.metadata["high"]
    if kind in (bool, str):
        if kind is str:
            nearest = described.default.replace("dam", "ddam") if field == "optimizer" else described.default + "x"
            with pytest.raises(
                bx.ConfigError, match=f"unknown {field} '{nearest}'; did you mean '{described.default}'"
            ):
                build(cls, {field: nearest})
        return
    item = float if kind is float else int
    shape = (lambda x: x) if kind in (float, int) else lambda x: (x,)
    outside = [item(low - 1)] if low > -math.inf else []
    outside += [item(high + 1)] if high < math.inf else []
    outside += [math.nan, math.inf, -math.inf, "nan", "inf"] if item is float else []
    for value in outside:
        with pytest.raises(bx.ConfigError, match=rf"\b{field}=.* is outside [\[(]"):
            build(cls, {field: shape(value)})


def test_all_problems_in_one_message() -> None:
    values = {
        "gama": 0.5,
        "gamma": 2.0,
        "batch_size": "many",
        "net_arch": [0],
        "double": 1,
        "loss": "hubert",
        "tau": -1,
    }
    with pytest.raises(bx.ConfigError) as caught:
        build(bx.DQN, values)
    for part in (
        "unknown hyper-parameter 'gama'; did you mean 'gamma'?",
        "gamma=2.0 is outside [0, 1]",
        "batch_size='many'",
        "net_arch=(0,) is outside [1, 1000000]",
        "double=1 is not of type bool",
        "unknown loss 'hubert'; did you mean 'huber'?",
        "tau=-1 is outside [1e-12, 1]",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conflicts_between_fields() -> None:
    with pytest.raises(bx.ConfigError, match="batch_size=64 is larger than buffer_size=32; num_envs=33 is larger"):
        bx.DQN(buffer_size=32, num_envs=33)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("256,128", (256, 128)), ("(256, 128)", (256, 128)), ("[8]", (8,)), ("", ()), ([4, 4], (4, 4)), ("1e2", (100,))],
)
def test_tuples(written: object, meant: tuple[int, ...]) -> None:
    assert build(bx.DQN, {"net_arch": written}).net_arch == meant


@pytest.mark.parametrize(("written", "meant"), [("1e6", 1_000_000), ("500.0", 500), ("120", 120)])
def test_integers_may_be_written_short(written: str, meant: int) -> None:
    value = build(bx.DQN, {"buffer_size": written}).buffer_size
    assert (value, type(value)) == (meant, int)


@pytest.mark.parametrize("name", AGENTS)
def test_every_field_has_a_sentence(name: str) -> None:
    described = describe_settings(CLASSES[name])
    assert sorted(key for key, _, _ in described) == sorted(f.name for f in dataclasses.fields(CLASSES[name]))
    for key, default, text in described:
        assert len(text.split()) >= 3, f"{key}: {text!r}"
        assert str(getattr(CLASSES[name](), key)) == default
    assert CLASSES[name].name in AGENTS
    assert CLASSES[name].__doc__


@pytest.mark.parametrize("name", AGENTS)
def test_help_lists_the_choices_of_every_setting(name: str) -> None:
    said = {key: text for key, _, text in describe_settings(CLASSES[name])}
    for key, names in choices(CLASSES[name]).items():
        assert not names or said[key].endswith(f"; one of {', '.join(names)}")


def test_one_name_has_one_meaning() -> None:
    """The same type everywhere; the same sentence in one family, the same first words across families."""
    said: dict[str, tuple[type, object, str]] = {}
    for cls in CLASSES.values():
        for key, _, text in describe_settings(cls):
            other, kind, sentence = said.setdefault(key, (cls, hints(cls)[key], text))
            assert hints(cls)[key] == kind, key
            one_family = hasattr(other, "initial_q") == hasattr(cls, "initial_q")
            assert text == sentence if one_family else text.split()[:2] == sentence.split()[:2], key


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        bx.DQN().gamma = 0.5


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_epsilon_runs_from_its_first_to_its_last_value(schedule: str) -> None:
    config = AgentConfig(
        exploration_schedule=schedule, exploration_fraction=0.5, exploration_initial_eps=0.8, exploration_final_eps=0.1
    )
    assert config.epsilon(0, 1000) == pytest.approx(0.8)
    assert config.epsilon(500, 1000) == pytest.approx(0.1, abs=0.7 * 2.0**-10 + 1e-12)
    assert config.epsilon(10**6, 1000) == pytest.approx(0.1)
    falling = [config.epsilon(t, 1000) for t in range(0, 1001, 50)]
    assert falling == sorted(falling, reverse=True)
