"""QuantEcon's DiscreteDP in its sparse state-action pair form; also the random worlds that both sides solve."""

import argparse
import json
import resource
import sys
import time

import numpy as np


def make_arrays(
    n_states: int, n_actions: int, n_successors: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Garnet: `(successor [S*A, K] sorted, probability [S*A, K], reward [S*A])`."""
    rng = np.random.default_rng(seed)
    n_pairs = n_states * n_actions
    successor = rng.integers(0, n_states - n_successors + 1, (n_pairs, n_successors), dtype=np.int32)
    successor.sort(axis=1)
    successor += np.arange(n_successors, dtype=np.int32)  # K different ones
    cuts = rng.random((n_pairs, n_successors - 1))
    cuts.sort(axis=1)
    probability = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    return successor, probability, rng.standard_normal(n_pairs)


def peak_gigabytes() -> float:
    """Of this process, up to now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def build(n_states: int, n_actions: int, arrays: tuple[np.ndarray, ...], gamma: float):
    import scipy.sparse as sp
    from quantecon.markov import DiscreteDP

    successor, probability, reward = arrays
    n_pairs, n_successors = successor.shape
    indptr = np.arange(0, n_pairs * n_successors + 1, n_successors, dtype=np.int32)
    Q = sp.csr_matrix((probability.ravel(), successor.ravel(), indptr), shape=(n_pairs, n_states))
    states, actions = np.divmod(np.arange(n_pairs), n_actions)
    return DiscreteDP(reward, Q, gamma, states, actions)


def solve(model, method: str, tolerance: float):
    return model.solve(method=method, epsilon=tolerance, max_iter=1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs=3, default=(1000, 4, 3), metavar=("S", "A", "K"))
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--method", default="mpi")
    parser.add_argument("--check", nargs="*", help="files of arrays to solve by policy iteration; saves v beside each")
    options = parser.parse_args()
    if options.check is not None:
        for path in options.check:
            data = np.load(path)
            arrays = (data["successor"], data["probability"], data["reward"])
            sizes = int(data["n_states"]), int(data["n_actions"])
            answer = solve(build(*sizes, arrays, float(data["gamma"])), "policy_iteration", 1e-12)
            np.save(path.replace(".npz", ".v.npy"), answer.v)
        print(json.dumps({"solved": len(options.check)}))
        return
    solve(build(100, options.sizes[1], make_arrays(100, *options.sizes[1:], 0), options.gamma), options.method, 1e-6)
    arrays = make_arrays(*options.sizes, seed=0)
    begin = time.perf_counter()
    model = build(*options.sizes[:2], arrays, options.gamma)
    built = time.perf_counter()
    answer = solve(model, options.method, options.tolerance)
    seconds = time.perf_counter() - built
    facts = {"build_seconds": built - begin, "solve_seconds": seconds, "iterations": answer.num_iter}
    print(json.dumps({**facts, "peak_gigabytes": peak_gigabytes(), "mean_value": float(np.mean(answer.v))}))


if __name__ == "__main__":
    main()
