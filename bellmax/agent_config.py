"""Plain Python. Typed, described and checked hyper-parameters, from which files and the command line derive."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, NoReturn, Self, TypeVar

from bellmax import schedules
from bellmax.arguments import describe as describe_value
from bellmax.arguments import is_integer, is_number, outside
from bellmax.contracts import ConfigError, listed, unknown
from bellmax.names import AGENT, meant
from bellmax.schedules import Number
from bellmax.values import read_as
from bellmax.words import misnamed

T = TypeVar("T")

_HINTS: dict[type, dict[str, Any]] = {}  # evaluating annotations takes a millisecond
_CHOICES: dict[type, dict[str, tuple[str, ...]]] = {}


def setting(
    default: T,
    text: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    zero: str = "",
    needs: Sequence[str] = (),
    group: str = "method",
) -> T:
    """Return a dataclass field of an agent's settings. Annotate a setting that is one of a few names with `Literal`.

    Args:
        default: its value.
        text: a sentence about it, for help and documents.
        low: the smallest valid value; where it is left out, -2**31 of an integer and -3.4e38 of a number: networks
            count in int32 and compute in float32.
        high: the largest valid value; where it is left out, 2**31 - 1 and 3.4e38.
        zero: what 0 would do and what to write instead, if 0 is outside the range.
        needs: the switch without which it has no effect, then the values of the switch with which it has one. Without
            such values, these are all but False, 0 and "none".
        group: the heading under which help shows it, such as "replay"; the method's own settings are "method".
    """
    meta = {"text": text, "low": low, "high": high, "zero": zero, "needs": tuple(needs), "group": group}
    field: T = dataclasses.field(default=default, metadata=meta)
    return field


def with_default(parent: type, name: str, default: T) -> T:
    """Return the field `name` of `parent` with another default, for a recipe."""
    (known,) = (f for f in dataclasses.fields(parent) if f.name == name)
    field: T = dataclasses.field(default=default, metadata=known.metadata)
    return field


class Limits(NamedTuple):
    """What the values of an agent that learns correctly cannot exceed.

    Attributes:
        discount: γ^n, between a value and the one that it bootstraps from.
        bonus: the largest amount that the method adds to a reward.
        bounds: (low, high) of all outputs of the network; None if they are unbounded.
        steps: n, between these two values.
    """

    discount: float
    bonus: float = 0.0
    bounds: tuple[float, float] | None = None
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """The settings of every agent: a discount factor, and ε-greedy exploration on a schedule over the run."""

    name: ClassVar[str] = ""
    family: ClassVar[Literal["table", "network", ""]] = ""  # learns by Numba or by JAX; see `catalog.is_tabular`

    gamma: float = setting(0.99, "discount factor γ per step", low=0.0, high=1.0, group="returns")
    exploration_schedule: Literal["linear", "exponential"] = setting(
        "linear", "how ε falls from its initial to its final value", group="exploration"
    )
    exploration_fraction: float = setting(
        0.1,
        "share of the steps of the run over which ε falls (linear) or halves ten times (exponential)",
        low=0.0,
        high=1.0,
        group="exploration",
    )
    exploration_initial_eps: float = setting(1.0, "ε at the first step", low=0.0, high=1.0, group="exploration")
    exploration_final_eps: float = setting(0.05, "ε at the end of the schedule", low=0.0, high=1.0, group="exploration")

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls) and cls.__module__.partition(".")[0] != "bellmax":
            cls.name = cls.__name__  # so that it is not mistaken for its parent

    def __post_init__(self) -> None:
        kinds, names = hints(type(self)), choices(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            with contextlib.suppress(ValueError):  # find_problems reports what is wrong
                if isinstance(value, str):
                    value = as_spelled(value, names[field.name])
                else:
                    value = read_as(value, kinds[field.name])  # NumPy's numbers, 1e5 for an integer, lists
                object.__setattr__(self, field.name, value)
        problems = find_problems(self) or self.conflicts()
        if problems:
            raise ConfigError("; ".join(problems))
        for name in (name for name, kind in kinds.items() if kind in (float, tuple[float, ...])):
            value = getattr(self, name)  # JAX would read an integer as one of 32 bits
            object.__setattr__(self, name, tuple(map(float, value)) if isinstance(value, tuple) else float(value))

    if not TYPE_CHECKING:  # a type checker knows the names

        def __new__(cls, *values: object, **settings: object) -> Self:  # noqa: D102 - before __init__, which only accepts names
            if values:
                raise ConfigError(
                    f"{cls.__name__} accepts only named settings; got {describe_value(values[0])}. Write "
                    f"{cls.__name__}(gamma=0.99), and give the environment to bellmax.train(environment, agent)"
                )
            check_dataclass(cls, cls.__name__)
            known = {field.name for field in dataclasses.fields(cls)}
            problems = [misnamed(key, value, known, cls.name) for key, value in settings.items() if key not in known]
            if problems:
                raise ConfigError("; ".join(problems))
            return super().__new__(cls)

        def __getattr__(self, name: str) -> NoReturn:
            """Raise an error that names the nearest attribute; Python calls this only for unknown names."""
            message = f"{type(self).__name__} has no attribute {name!r}"
            raise AttributeError(message if name.startswith("_") else message + meant(name, hints(type(self)), AGENT))

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each; agents with such rules override it."""
        return []

    def limits(self) -> Limits | None:
        """Return what its values cannot exceed, for alarms; None if nothing is watched."""
        return None

    def idle(self, given: Iterable[str] | None = None) -> list[str]:
        """Return the given settings that have no effect, one line each.

        `given` are the names of the settings that the user gave; None means those that differ from their defaults.
        """
        found = []
        for field in dataclasses.fields(self):
            switch, *values = field.metadata["needs"] or ("",)
            if not switch or not self.is_asked(field.name, given):
                continue
            state = getattr(self, switch)
            if state in values or (not values and state not in (False, 0, "none")):
                continue
            wanted = " or ".join(map(repr, values)) or ("True" if isinstance(state, bool) else "another value")
            found.append(f"{field.name} has no effect with {switch}={state!r}; use {switch}={wanted}, or leave it out")
        return found

    def is_asked(self, name: str, given: Iterable[str] | None) -> bool:
        """Return whether a setting is among those that `idle` looks at."""
        return getattr(self, name) != type(self).__dataclass_fields__[name].default if given is None else name in given

    def exploration_duration(self, steps: int) -> float:
        """Return the `duration` of the linear or the `half_life` of the exponential schedule, in environment steps."""
        falling = max(1.0, self.exploration_fraction * steps)
        return falling if self.exploration_schedule == "linear" else falling / 10.0

    def epsilon(self, t: Number, steps: int) -> Number:
        """Return ε at environment step `t` of a run of `steps`; `t` may be a JAX tracer."""
        fall = schedules.linear if self.exploration_schedule == "linear" else schedules.exponential
        return fall(t, self.exploration_initial_eps, self.exploration_final_eps, self.exploration_duration(steps))


def check_dataclass(cls: type[AgentConfig], what: str) -> None:
    """Check that all settings of a class are fields.

    Raises:
        ConfigError: some are not, because the class is not a dataclass.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    lost = [
        name
        for base in cls.__mro__
        for name, kind in vars(base).get("__annotations__", {}).items()
        if name not in known and not name.startswith("_") and "ClassVar" not in str(kind)
    ]
    if lost:
        raise ConfigError(
            f"{what}: {listed(lost)} would not be settings, because the class is not a dataclass; write "
            "@dataclass(frozen=True, kw_only=True) above it"
        )


def as_spelled(value: str, names: Iterable[str]) -> str:
    """Return the name that differs from `value` only in case, spaces, dashes and underscores; else `value`."""
    return next((name for name in names if fold(name) == fold(value)), value)


def fold(name: str) -> str:
    """Return the first letters and digits of a name in lower case, with +, λ, σ and ε spelled out."""
    for sign, word in (("+", "plus"), ("λ", "lambda"), ("σ", "sigma"), ("ε", "epsilon")):
        name = name[:200].lower().replace(sign, word)
    return "".join(letter for letter in name if letter.isalnum())


def hints(cls: type) -> dict[str, Any]:
    """Return the type of each field by name, with the annotations evaluated; str for a `Literal`."""
    if cls not in _HINTS:
        types = typing.get_type_hints(cls)
        kinds = {field.name: types[field.name] for field in dataclasses.fields(cls)}
        found = {name: typing.get_args(kind) if _is_literal(kind) else () for name, kind in kinds.items()}
        _CHOICES[cls] = {name: names or _inherited(cls, name) for name, names in found.items()}
        _HINTS[cls] = {name: str if _is_literal(kind) else kind for name, kind in kinds.items()}
    return _HINTS[cls]


def choices(cls: type) -> dict[str, tuple[str, ...]]:
    """Return the names that each field accepts, by its `Literal`; () if it accepts any value of its type."""
    hints(cls)
    return _CHOICES[cls]


def _is_literal(kind: object) -> bool:
    return typing.get_origin(kind) is Literal


def _inherited(cls: type, name: str) -> tuple[str, ...]:
    """Return the choices of a setting that `cls` annotates with str and inherits from a parent, see `with_default`."""
    rules = {field.name: field.metadata for field in dataclasses.fields(cls)}[name]
    for parent in cls.__mro__[1:]:
        known = dataclasses.fields(parent) if dataclasses.is_dataclass(parent) else ()
        if any(field.name == name and field.metadata == rules for field in known):
            return choices(parent)[name]
    return ()


def _fits(value: object, kind: Any) -> bool:
    """Whether `value` has the annotated type; an int counts as a float, and a bool never as a number."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(kind)[0]) for item in value)
    if kind is float:
        return is_number(value)
    if kind is int:
        return is_integer(value)
    return isinstance(value, kind)


def find_problems(config: AgentConfig) -> list[str]:
    """Return every wrong type, range or name of a config, one line each, with the field, the value and the remedy."""
    problems = []
    types, names = hints(type(config)), choices(type(config))
    for field in dataclasses.fields(config):
        value, kind, meta = getattr(config, field.name), types[field.name], field.metadata
        valid = names[field.name]
        if not _fits(value, kind):
            wanted = getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)
            choose = f"; choose {listed(valid)}" if valid else ""
            if kind is str and isinstance(value, type | FunctionType):  # a class or function of the user's
                choose = f"; write {value.__module__ + ':' + value.__qualname__!r}"
            problems.append(f"{field.name}={describe_value(value)} is not of type {wanted}{choose}")
        elif valid and value not in valid:
            problems.append(unknown(field.name, value, valid))
        else:
            whole = kind in (int, tuple[int, ...])
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, (int, float)) and (why := outside(number, meta["low"], meta["high"], whole)):
                    zero = f": {meta['zero']}" if number == 0 and meta["zero"] else ""
                    problems.append(f"{field.name}={describe_value(value)} {why}{zero}")
    return problems


def build(
    cls: type[T],
    values: Mapping[str, Any],
    what: str = "hyper-parameter",
    others: Callable[[str], Sequence[str]] = lambda name: (),
) -> T:
    """Return `cls(**values)`, with strings read as the type of their field.

    `others(name)` returns the agents that have a setting of this name.

    Raises:
        ConfigError: names are unknown, or types or ranges are wrong; one message reports all of them.
    """
    types = hints(cls)
    problems, good = [], {}
    cause: BaseException | None = None
    for key, value in values.items():
        if key not in types:
            hyper = what == "hyper-parameter"
            problems.append(
                misnamed(key, value, types, getattr(cls, "name", ""), others) if hyper else unknown(what, key, types)
            )
            continue
        try:
            good[key] = read_as(value, types[key])
        except ValueError as error:
            problems.append(f"{key}={value!r}: {error}")
    try:
        made = cls(**good)
    except ConfigError as error:
        problems.append(str(error))
        cause = error.__cause__
    if problems:
        raise ConfigError("; ".join(problems)) from cause
    return made


def describe_settings(cls: type) -> list[tuple[str, str, str]]:
    """Return (name, default, sentence with its choices) of every field, for help and documents."""
    return [row for rows in grouped(cls).values() for row in rows]


def grouped(cls: type) -> dict[str, list[tuple[str, str, str]]]:
    """Return the same by group, with the method's own settings first."""
    groups: dict[str, list[tuple[str, str, str]]] = {"method": []}
    for f in dataclasses.fields(cls):
        names = choices(cls)[f.name]
        text = f.metadata["text"] + (f"; one of {', '.join(names)}" if names else "")
        groups.setdefault(f.metadata["group"], []).append((f.name, str(f.default), text))
    return {group: rows for group, rows in groups.items() if rows}
