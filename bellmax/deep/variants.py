"""JAX. Recipes that differ from DQN in one or two settings, which munchausen.py and cql.py implement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.agent_config import with_default
from bellmax.deep.dqn import DQN


@dataclass(frozen=True, kw_only=True)
class MunchausenDQN(DQN):
    """Munchausen DQN: soft targets and a log-policy bonus. Vieillard et al. (2020)."""

    name: ClassVar[str] = "munchausen-dqn"

    munchausen: bool = with_default(DQN, "munchausen", True)


@dataclass(frozen=True, kw_only=True)
class CQL(DQN):
    """CQL: DQN that only trusts actions in the data. Kumar et al. (2020).

    Differs from the paper in: it is based on double DQN, not on QR-DQN (which has the same setting).
    """

    name: ClassVar[str] = "cql"

    double: bool = with_default(DQN, "double", True)
    conservative_weight: float = with_default(DQN, "conservative_weight", 1.0)
