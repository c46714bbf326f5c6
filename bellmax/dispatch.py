"""JAX. How bellmax's programs run in a process whose settings of JAX are somebody else's; none of them is changed.

Threads: on a CPU, JAX hands any program that is not tiny to a pool of threads and waits for it there, 40 µs for nothing
where one action is chosen at a time. The switch for that is of the whole process. So these programs run on a CPU device
of our own, which waits for each call; JAX's own devices stay as they are (decision 16).

Bits: networks are of 32-bit numbers, also where the process has switched 64 bits on (`JAX_ENABLE_X64`).

Forks: a process that `os.fork` makes after JAX has started has none of JAX's threads, and would wait for them forever.
A hook, which does nothing else, notes that in the child.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from bellmax.contracts import ConfigError
from bellmax.machine import Free

if TYPE_CHECKING:
    import jax

Tree = TypeVar("Tree")
Given = ParamSpec("Given")
Result = TypeVar("Result")


FORKED: list[bool] = []  # not empty in a process that was forked after JAX had started


def _note_fork() -> None:
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and getattr(bridge, "backends_are_initialized", lambda: True)():
        FORKED.append(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def refuse_fork() -> None:
    """Refuse to use JAX in a process that was forked after JAX had started.

    Raises:
        ConfigError: it was.
    """
    if FORKED:
        raise ConfigError(
            "this process was forked after JAX had started, so networks and compiled environments would hang in it; "
            "start processes with multiprocessing.get_context('spawn'), or fork before the first use of a network"
        )


def in_32_bits(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The same function, inside of which JAX's numbers are of 32 bits; costs 2 µs a call.

    It raises as `refuse_fork`.
    """

    @functools.wraps(function)
    def inside(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        if FORKED:
            refuse_fork()
        import jax

        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return inside


@functools.cache
def _client() -> jax.Device | None:
    """A CPU whose programs run in the calling thread; None where there is none to be had."""
    try:
        from jaxlib import xla_client

        client: Any = xla_client.make_cpu_client(asynchronous=False)
        return client.local_devices()[0]
    except Exception:  # another version of jaxlib: the same numbers, more slowly
        return None


def has_client() -> bool:
    """Return whether there is a CPU device of bellmax's own; without one, calls are slower and numbers the same."""
    return _client() is not None


def _device() -> jax.Device | None:
    """The same; None also on accelerators, and where the host program has chosen a device."""
    import jax

    config: Any = jax.config
    return None if config.jax_default_device is not None or jax.default_backend() != "cpu" else _client()


def free_on_device() -> Free | None:
    """Return the memory that is left on the device on which JAX computes; None if it does not report it, as a CPU."""
    import jax

    config: Any = jax.config
    chosen = config.jax_default_device
    device = jax.devices(chosen)[0] if chosen is None or isinstance(chosen, str) else chosen
    try:
        told = device.memory_stats()
    except Exception:  # a device without this question: each plugin raises an error of its own
        return None
    return left_of(told, device.device_kind)


def left_of(told: Mapping[str, int] | None, name: str) -> Free | None:
    """Return what the statistics of a device's memory leave; None if there are none.

    Without preallocation `bytes_limit` is what JAX would allocate at most; with it, what it has allocated.
    """
    if not told or "bytes_limit" not in told:
        return None
    return Free(max(told["bytes_limit"] - told.get("bytes_in_use", 0), 0), f"memory of {name}")


def near(tree: Tree) -> Tree:
    """The same arrays, so placed that programs that are given them run in the calling thread.

    They may be mixed with NumPy arrays, but not with arrays that JAX keeps elsewhere.
    """
    import jax

    device = _device()
    return tree if device is None else jax.device_put(tree, device)


def making_near() -> contextlib.AbstractContextManager[object]:
    """A context in which new arrays of JAX are made where `near` puts them: large ones are not copied."""
    import jax

    device = _device()
    return contextlib.nullcontext() if device is None else jax.default_device(device)
