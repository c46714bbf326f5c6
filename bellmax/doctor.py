"""Plain Python. What is installed, and whether the compilers work here: each computes one small answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from bellmax.contracts import counted


def examine() -> tuple[dict[str, Any], bool]:
    """Return the findings by name, and whether everything works; a failed check is a finding, not an exception."""
    from bellmax.caching import cache_directory
    from bellmax.files.provenance import PACKAGES, compared, environment

    facts = environment()
    findings: dict[str, Any] = {k: facts[k] for k in ("bellmax", "python", "platform", "processor", "cpus")}
    findings |= {name: version for name, version in compared(facts).items() if name in PACKAGES}
    findings["cache"] = str(cache_directory("numba") or "no writable folder: every process compiles kernels again")
    good = True
    for name, missing, loss in private_interfaces():
        findings[name] = f"no: {missing}; {loss}" if missing else "yes"
    for name, check in (("numba works", _numba), ("jax works", _jax), ("gymnasium works", _gymnasium)):
        begin = time.monotonic()
        try:
            findings[name] = f"yes, {check()} in {time.monotonic() - begin:.1f} s"
        except Exception as error:  # the point is to report it, whatever it is
            findings[name] = f"no: {type(error).__name__}: {error}"
            good = False
    return findings, good


def private_interfaces() -> Iterator[tuple[str, str, str]]:
    """`(name, what is missing, what is lost without it)` for each private interface of Numba or JAX that is used.

    Such an interface may change in any version of its library. What is missing is "" where all is there.
    """
    checks: tuple[tuple[str, Callable[[], str], str], ...] = (
        ("numba stores kernels", _kernels, "every process compiles kernels again, 2 to 20 s"),
        ("numba shows kernels", _shown, "own kernels that use the next action without look_ahead=True are not found"),
        ("jax fuses keys", _keys, "the same random numbers, but compiled loops of networks are slower"),
        ("jax calls directly", _calls, "acting with a network on a CPU takes about 40 µs longer"),
        ("jax convolutions", _convolutions, "networks for images do not work"),
    )
    for name, check, loss in checks:
        try:
            yield name, check(), loss
        except Exception as error:  # as in `examine`
            yield name, f"{type(error).__name__}: {error}", loss


def _kernels() -> str:
    from bellmax import compiling

    return compiling.MISSING


def _shown() -> str:
    from bellmax.tabular import next_actions

    return next_actions.MISSING


def _keys() -> str:
    from bellmax import keys

    return keys.MISSING


def _calls() -> str:
    from bellmax import dispatch

    return "" if dispatch.has_client() else "jaxlib.xla_client.make_cpu_client does not work"


def _convolutions() -> str:
    from jax.extend.core import Primitive

    return "" if callable(Primitive) else "jax.extend.core.Primitive is not a class"


def _numba() -> str:
    from bellmax.training.train import train

    run = train("corridor", "q-learning", steps=20_000, gamma=0.9, exploration_final_eps=1.0, progress=False)
    error = run.history["exact/q_error"][0, -1]
    if not error < 0.01:
        raise ArithmeticError(f"Q-learning on the corridor is {error:.3g} from the exact answer")
    return f"corridor learned to within {error:.1g}"


def _jax() -> str:
    import jax

    from bellmax.training.train import train

    run = train("probe:delay", "dqn", steps=2_000, learning_starts=100, progress=False)
    loss = run.history["loss"][0, -1]
    if not loss < 0.1:
        raise ArithmeticError(f"DQN's loss on the delay probe stays at {loss:.3g}")
    devices = counted(jax.device_count(), "device")
    return f"{jax.default_backend()} with {devices}, probe learned to a loss of {loss:.1g}"


def _gymnasium() -> str:
    from bellmax.training.train import train

    run = train(
        "CartPole-v1", "dqn", steps=4_000, loop="host", learning_starts=200, records=2, eval_episodes=0,
        final_episodes=0, progress=False,
    )  # fmt: skip
    parts = ", ".join(
        f"{words} {1e3 * run.history[f'time/{name}_ms'][0, -1]:.0f}"
        for words, name in (("environment", "env"), ("acting", "act"), ("waiting for learning", "wait"),
                            ("overhead", "overhead"), ("learning in parallel", "learn"))
    )  # fmt: skip
    return f"a step of CartPole-v1 with DQN takes {1e3 * run.history['time/step_ms'][0, -1]:.0f} µs ({parts})"
