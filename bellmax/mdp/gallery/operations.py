"""NumPy. Decisions of a trade: stakes, stock, machines and queues."""

from __future__ import annotations

from collections.abc import Sequence

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery.assembling import Outcomes, check_outcomes, rest, tabulate, world
from bellmax.mdp.model import FiniteMDP


@world
def gamblers_problem(goal: int = 100, p_heads: float = 0.4) -> FiniteMDP:
    """Stake money on a coin, again and again, until you have `goal` or nothing.

    ::

        0 <--tails-- s - stake      s      s + stake --heads--> 100     action a stakes a + 1, at most
       ruin                                                     goal    min(s, goal - s); reaching the goal pays 1

    With γ = 1 the value is the probability of success. For p_heads <= 1/2 bold play, to stake all that can be used,
    is optimal (Dubins and Savage 1965): V(50) = p, V(25) = p^2, V(75) = p + (1 - p) p. So are other policies.
    The start is any capital but the ends.

    Source: Sutton and Barto (2018), Example 4.3. Raises ConfigError for goal < 2 or p_heads that is not a probability.
    """
    if goal < 2 or not 0 <= p_heads <= 1:
        raise ConfigError(f"goal={goal} must be at least 2 and p_heads={p_heads} a probability")
    check_outcomes("goal", goal, goal * goal // 2, 2)

    def step(capital: int, action: int) -> Outcomes:
        if capital in (0, goal):
            return rest(capital)
        win, lose = capital + action + 1, capital - action - 1
        return [(p_heads, win, float(win == goal), win == goal), (1 - p_heads, lose, 0.0, lose == 0)]

    return tabulate(
        range(goal + 1),
        lambda capital: max(min(capital, goal - capital), 1),
        step,
        start=list(range(1, goal)),
        name="gamblers-problem",
        action_names=tuple(str(stake) for stake in range(1, goal // 2 + 1)),
    )


@world
def inventory(
    capacity: int = 3,
    demand: Sequence[float] = (0.25, 0.5, 0.25),
    price: float = 8.0,
    order_cost: float = 4.0,
    unit_cost: float = 2.0,
    holding_cost: float = 1.0,
) -> FiniteMDP:
    """A shop orders each month, before it knows the demand; what it has not, it does not sell.

    ::

        stock s --order a--> s + a --demand D--> max(s + a - D, 0)     action a orders a; s + a <= capacity
                  |            |        |
             -4 - 2a if a    -(s+a)   8 min(s + a, D)                  `demand[j]` is the probability of D = j

    It never ends; it starts with nothing in stock. Over three months the best is to earn 67/16, 129/16, 194/16 and
    227/16 from a stock of 0, 1, 2 and 3.

    Source: Puterman (1994), sections 3.2.2 and 4.6.1. Raises ConfigError for capacity < 1; the model checks `demand`.
    """
    if capacity < 1:
        raise ConfigError(f"inventory of capacity={capacity}: it must hold at least 1 unit")
    check_outcomes("capacity", capacity, capacity * capacity * len(demand) // 2, 2)

    def step(stock: int, order: int) -> Outcomes:
        have = stock + order
        cost = (order_cost + unit_cost * order if order else 0.0) + holding_cost * have
        sales = ((probability, min(wanted, have)) for wanted, probability in enumerate(demand))
        return [(probability, have - sold, price * sold - cost, False) for probability, sold in sales]

    names = tuple(f"order {a}" for a in range(capacity + 1))
    has = range(capacity + 1)
    return tabulate(has, lambda s: capacity - s + 1, step, start=[0], name="inventory", action_names=names)


@world
def machine_replacement() -> FiniteMDP:
    """A machine wears; an inspection each week finds it as new, worn a little, worn a lot, or broken.

    ::

        next week:        worn a little   worn a lot   broken      a week's loss
        as new                7/8            1/16       1/16           0
        worn a little         3/4            1/8        1/8         1000
        worn a lot                           1/2        1/2         3000
        broken                                              must be replaced

    Actions 0 replace (6000, as new next week), 1 keep, and for a machine worn a lot 2 overhaul (4000, worn a little
    next week). Rewards are costs with a minus. For γ = 0.9 keep, keep, overhaul, replace is optimal, at costs of
    14949, 16262, 18636 and 19454; it costs 5000/3 a week on average.

    Source: Hillier and Lieberman, Introduction to Operations Research, 7th edition, chapter 21, prototype
    example.
    """
    wear = {
        "as new": {"worn a little": 7 / 8, "worn a lot": 1 / 16, "broken": 1 / 16},
        "worn a little": {"worn a little": 3 / 4, "worn a lot": 1 / 8, "broken": 1 / 8},
        "worn a lot": {"worn a lot": 1 / 2, "broken": 1 / 2},
    }
    loss = {"as new": 0.0, "worn a little": -1000.0, "worn a lot": -3000.0}

    def step(state: str, action: int) -> Outcomes:
        if action == 0:
            return [(1.0, "as new", -6000.0, False)]
        if action == 2:
            return [(1.0, "worn a little", -4000.0, False)]
        return [(probability, to, loss[state], False) for to, probability in wear[state].items()]

    has = {"as new": 2, "worn a little": 2, "worn a lot": 3, "broken": 1}
    labels = {"name": "machine-replacement", "state_names": tuple(has), "action_names": ("replace", "keep", "overhaul")}
    return tabulate(list(has), has.__getitem__, step, start=["as new"], **labels)  # type: ignore[arg-type]


@world
def admission_control(
    capacity: int = 20,
    arrival_rate: float = 0.8,
    service_rate: float = 1.0,
    reward: float = 6.0,
    holding_cost: float = 1.0,
) -> FiniteMDP:
    """A queue with one server: which customers to admit, when each of them pays and waiting costs.

    ::

        --arrival--> (0 reject | 1 admit: +6) --> [ | | | n | server ] --service-->     state n, in the system
                                                   costs n per unit of time

    The M/M/1 queue, uniformized: a step lasts until the next event, which is an arrival with probability
    arrival_rate / (arrival_rate + service_rate), else the end of a service, if there is one. The action is what to do
    with an arrival, if that comes. It never ends. In the long run it is best to admit while n is under a limit that
    Naor gives in closed form, and selfish customers would join beyond it.

    Source: Naor (1969), The regulation of queue size by levying tolls, Econometrica 37; Puterman (1994), sections
    3.7.1 and 11.5. Raises ConfigError for a capacity under 1 or rates that are not positive.
    """
    if capacity < 1 or arrival_rate <= 0 or service_rate <= 0:
        raise ConfigError(
            f"capacity={capacity}, arrival_rate={arrival_rate} and service_rate={service_rate} do not define a queue"
        )
    check_outcomes("capacity", capacity, 4 * capacity)
    rate = arrival_rate + service_rate

    def step(n: int, action: int) -> Outcomes:
        waiting = -holding_cost * n / rate
        arrival = (arrival_rate / rate, n + action, waiting + reward * action, False)
        return [arrival, (service_rate / rate, max(n - 1, 0), waiting, False)]

    labels = {"name": "admission-control", "action_names": ("reject", "admit")}
    has = range(capacity + 1)
    return tabulate(has, lambda n: 2 if n < capacity else 1, step, start=[0], **labels)  # type: ignore[arg-type]
