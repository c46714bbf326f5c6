"""Plain Python. Names that bellmax, a policy or an agent does not have, but other libraries do: what to write."""

from __future__ import annotations

from collections.abc import Iterable

from bellmax.contracts import nearest

SOLVE = "bellmax.solve(mdp, gamma) solves a FiniteMDP exactly; its `method` names the algorithm"
TRAIN = "bellmax.train(environment, agent, steps=...) trains an agent and returns a Run"
MODULE = {
    **dict.fromkeys(("PPO", "A2C", "A3C", "TRPO", "Reinforce"),
                    "bellmax learns action values, not policies; use bellmax.DQN"),
    **dict.fromkeys(("SAC", "TD3", "DDPG"), "bellmax learns values of finitely many actions; use bellmax.DQN, with the "
                    "wrapper DiscretizeAction"),
    **dict.fromkeys(("value_iteration", "policy_iteration", "linear_programming", "dynamic_programming"), SOLVE),
    **dict.fromkeys(("learn", "fit", "run"), TRAIN),
    **dict.fromkeys(("make", "make_env", "Env"), "give the environment's id to bellmax.train, such as "
                    "bellmax.train('CartPole-v1', 'dqn'), or make it with gymnasium.make"),
    "DoubleDQN": "write bellmax.DQN(double=True)", "DuelingDQN": "write bellmax.DQN(dueling=True)",
    "MDP": "write bellmax.FiniteMDP", "policy_evaluation": "write bellmax.evaluate_policy",
    "value_function": "write bellmax.solve(mdp, gamma).v", "bellman_backup": "write bellmax.bellman_operator",
    **dict.fromkeys(("register_torso", "register_network"), "write bellmax.extend.register_network"),
    "save": "write policy.save(path); a run saves itself with out=path", "test": "write bellmax.evaluate",
}  # fmt: skip
POLICY = {
    **dict.fromkeys(("predict", "get_action", "select_action", "choose_action", "action", "compute_action",
                     "compute_single_action", "sample", "world_action"), "write policy.act(obs)"),
    "evaluate": "write bellmax.evaluate(policy, environment)", "load": "write bellmax.load_policy(path)",
    "learn": TRAIN, "train": TRAIN, "predict_values": "write policy.q_values(obs)", "q_table": "write policy.table()",
    "q": "write policy.table(), or policy.q_values(obs)", "env": "its id is policy.world",
}  # fmt: skip
AGENT = {
    **dict.fromkeys(("learn", "train", "fit", "run"),
                    "an agent is its settings: bellmax.train(environment, agent) trains it"),
    **dict.fromkeys(("predict", "act", "get_action", "choose_action"),
                    "an agent is its settings: bellmax.train(environment, agent).policy(0).act(obs) acts"),
    **dict.fromkeys(("save", "load"), "an agent is its settings: bellmax.train(..., out=folder) saves a run, and "
                    "bellmax.load(folder) reads it"),
}  # fmt: skip


def meant(name: str, known: Iterable[str], table: dict[str, str] = MODULE) -> str:
    """What to write in place of `name`, after a semicolon; "" if nothing is known."""
    if name in table:
        return f"; {table[name]}"
    near = nearest(name, [each for each in known if not each.startswith("_")], 0.7)
    return f"; did you mean {near!r}?" if near else ""
