"""Plain Python. environment.json: versions and machine of a run, and from which steps on it went on with others."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from bellmax.contracts import Json
from bellmax.version import __version__

Facts: TypeAlias = dict[str, Json]
PACKAGES = ("numpy", "scipy", "numba", "jax", "jaxlib", "equinox", "optax", "gymnasium", "ale-py", "safetensors")
EXACT = "not bit for bit the run that was begun"


def environment(*, network: bool = False) -> Facts:
    """Return versions, machine and start time; with a `network`, also the device that JAX uses."""
    found: Facts = {
        "bellmax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": f"{_processor()} ({platform.machine()}, {platform.system()})",
    }
    packages: dict[str, Json] = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        **found,
        **({"device": _device()} if network else {}),
        "cpus": os.cpu_count(),
        "packages": packages,
        "command": list(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    """The model of the processor, which decides how sums are vectorized."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def _device() -> str:
    import jax

    return ", ".join(sorted({f"{jax.default_backend()} {device.device_kind}" for device in jax.devices()}))


def compared(facts: Mapping[str, Json]) -> dict[str, str]:
    """Return what decides the bits of a run, by name: versions, processor and device."""
    packages = facts.get("packages")
    named = dict(packages) if isinstance(packages, Mapping) else {}
    named.pop("safetensors", None)
    named |= {name: facts[name] for name in ("python", "bellmax", "processor", "device") if name in facts}
    return {name: str(value) for name, value in named.items()}


def changes(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """Return a phrase for each version, processor or device that is another one now, such as "jax 0.9.1, now 0.9.2"."""
    old, new = compared(before), compared(now)
    return [f"{name} {value}, now {new[name]}" for name, value in old.items() if new.get(name, value) != value]


def continued(card: Mapping[str, Json], step: int, now: Mapping[str, Json]) -> tuple[Facts, list[str]]:
    """Return environment.json of a run that is resumed at `step`, and what differs from what computed that state.

    What a later state was computed with is left out, since that state is not used.
    """
    card = card or now
    kept = [(at, each) for at, each in _continuations(card) if at < step]
    before = kept[-1][1].get("environment") if kept else card
    differing = changes(before if isinstance(before, Mapping) else {}, now)
    entries: list[Json] = [dict(each) for _, each in kept]
    if differing:
        entries.append({"step": step, "differs": differing, "environment": dict(now)})
    rest = {name: value for name, value in card.items() if name != "continued"}
    return {**rest, **({"continued": entries} if entries else {})}, differing


def inexact(card: Mapping[str, Json]) -> list[str]:
    """Return a line for each step from which on a run went on with other versions, or on another machine."""
    lines = []
    for step, each in _continuations(card):
        differs = each.get("differs")
        said = "; ".join(map(str, differs)) if isinstance(differs, list) else "unknown"
        lines.append(f"from step {step:,} on, {EXACT}: {said}")
    return lines


def _continuations(card: Mapping[str, Json]) -> list[tuple[int, Mapping[str, Json]]]:
    given = card.get("continued")
    found: list[tuple[int, Mapping[str, Json]]] = []
    for each in given if isinstance(given, list) else []:
        step = each.get("step") if isinstance(each, Mapping) else None
        if isinstance(each, Mapping) and isinstance(step, int):
            found.append((step, each))
    return found
