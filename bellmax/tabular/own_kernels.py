"""Numba. Make the learner of a config, and say in one sentence what is wrong with a kernel of your own."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numba
from numba.core.errors import NumbaError

from bellmax.arguments import describe
from bellmax.contracts import ConfigError
from bellmax.registry import is_own
from bellmax.tabular.agent import Shape, TabularAgent, TabularConfig, Update
from bellmax.tabular.kernel import uniform
from bellmax.tabular.next_actions import uses_next_action

FAILURES = (NumbaError, TypeError)  # of a call of a kernel: it cannot be compiled, or returns None where it should not
PARAMETERS = ("q", "memory", "options", "step", "behavior", "now")


def make_table_agent(config: TabularConfig, shape: Shape) -> TabularAgent:
    """Return the learner of a config for a world of this shape.

    Raises:
        ConfigError: `make` returns something else, or the update is not a kernel, has other parameters, or uses the
            next action, which is not chosen yet.
    """
    agent: object = config.make(shape)
    if not isinstance(agent, TabularAgent):
        raise ConfigError(f"`make` of {type(config).__name__} must return a TabularAgent; got {describe(agent)}")
    what = kernel_title(agent.update, config)
    if hasattr(uniform, "py_func") and not hasattr(agent.update, "py_func"):  # neither has where Numba is switched off
        raise ConfigError(f"{what} must be decorated with @kernel, of bellmax.extend")
    function: Callable[..., object] = getattr(agent.update, "py_func", agent.update)
    signature = inspect.signature(function)
    try:
        signature.bind(*PARAMETERS)
    except TypeError as error:
        raise ConfigError(
            f"{what} must have the parameters {', '.join(PARAMETERS)}; it has {', '.join(signature.parameters)}"
        ) from error
    if is_own(type(config)) and not agent.look_ahead and uses_next_action(function, list(signature.parameters)[3]):
        raise ConfigError(
            f"{what} uses step.next_action, which is -1 because the next action is not chosen yet; give "
            "TabularAgent(..., look_ahead=True)"
        )
    return agent


def kernel_title(update: Update, config: TabularConfig) -> str:
    """Return how errors call an update."""
    return f"`{getattr(update, '__name__', update)}`, the update of {type(config).__name__},"


def explain_failure(update: Update, config: TabularConfig, error: Exception) -> ConfigError:
    """Return the error to raise at one of the `FAILURES` of an update: one sentence, whose cause is Numba's `error`."""
    returned = [signature.return_type for signature in getattr(update, "nopython_signatures", ())]
    nothing, partly = numba.types.none in returned, "got None" in str(error)
    if nothing or partly:
        where = "it returns nothing" if nothing else "it does not on every path"
        return ConfigError(f"{kernel_title(update, config)} must return the TD error, a number; {where}")
    lines = [line.strip() for line in str(error).partition('\nFile "')[0].splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return ConfigError(f"{kernel_title(update, config)} cannot be compiled by Numba: {last}")
