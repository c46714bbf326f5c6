"""From sales data to an order policy: two years of weekly demand, a shelf of thirty, and when to reorder how much.

python examples/inventory.py [demand.csv]
"""

import csv
import sys
from pathlib import Path

import numpy as np

import bellmax as bx
from bellmax.contracts import IntArray

SHELF, PRICE, UNIT_COST, ORDER_COST, HOLDING = 30, 50.0, 30.0, 40.0, 1.0  # units; euros; euros per unit and week
WEEKS, GAMMA, USUAL = 52, 0.99, 3


def read_demand(path: Path) -> IntArray:
    with path.open() as file:
        return np.array([int(row["demand"]) for row in csv.DictReader(file)])


def build(demand: IntArray) -> bx.FiniteMDP:
    probability = np.bincount(demand) / demand.size

    def week(stock: int, order: int) -> list[tuple[float, int, float, bool]]:
        have = stock + order
        cost = ORDER_COST * (order > 0) + UNIT_COST * order + HOLDING * have
        sold = np.minimum(np.arange(probability.size), have)  # what is not there is not sold
        return [(p, have - n, PRICE * n - cost, False) for p, n in zip(probability, sold.tolist(), strict=True) if p]

    return bx.FiniteMDP.from_function(
        week, 0, n_actions=lambda stock: SHELF - stock + 1, max_episode_steps=WEEKS, name="shop"
    )


def by_rule(mdp: bx.FiniteMDP, reorder_at: int, up_to: int) -> IntArray:
    """(s, S): when the stock is at most s, order up to S."""
    stocks = np.array(mdp.state_names)
    return np.where(stocks <= reorder_at, up_to - stocks, 0)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "demand.csv"
    demand = read_demand(path)
    mdp = build(demand)
    best = bx.solve(mdp, GAMMA).policy
    stocks = np.array(mdp.state_names)
    reorder_at = int(stocks[best > 0].max())
    up_to = int((stocks + best)[best > 0].max())
    shape = "is" if np.array_equal(best, by_rule(mdp, reorder_at, up_to)) else "is nearly"
    print(f"{demand.size} weeks, {demand.mean():.2f} a week on average, {demand.max()} at the most")
    print(f"the best policy {shape} (s, S) = ({reorder_at}, {up_to})")
    usual = by_rule(mdp, int(np.ceil(demand.mean())), int(np.ceil(USUAL * demand.mean())))
    a_week = 1 - GAMMA  # from a discounted sum to its mean
    profit, before = (a_week * bx.evaluate_policy(mdp, policy, GAMMA)[0] for policy in (best, usual))
    print(f"it earns {profit:.2f} a week from an empty shelf; {USUAL} weeks' worth whenever one is left: {before:.2f}")
    run = bx.train(
        mdp, "q-learning", steps=3_000_000, seeds=3, gamma=GAMMA, exploration_final_eps=0.2, learning_rate_decay=0.001
    )
    learned = a_week * run.history["exact/policy_value"][:, -1]
    print(f"Q-learning, which sees only sales: {', '.join(f'{value:.2f}' for value in learned)} on three seeds")


if __name__ == "__main__":
    main()
