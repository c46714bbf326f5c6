"""Every tabular learner once more, as its book or paper has it: plain Python, dictionaries, whole sweeps, no Numba.

Values are sums over the features of a state, of which a table has one; weights are `w[feature, action]`. A learner is
told transitions and answers with its next action; it draws the random numbers that the kernels draw, in their order.
"""

from collections import defaultdict
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

WORD = 2**64 - 1


class SplitMix:
    """Steele, Lea and Flood (2014), on Python's integers."""

    def __init__(self, seed: int) -> None:
        self.state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])

    def bits(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & WORD
        z = (self.state ^ (self.state >> 30)) * 0xBF58476D1CE4E5B9 & WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
        return z ^ (z >> 31)

    def uniform(self) -> float:
        return (self.bits() >> 11) / 2**53


class Learner:
    """What all share: ε-greedy choice, visits, step sizes."""

    looks_ahead = False

    def __init__(
        self,
        n_allowed: list[int],
        features: list[list[int]] | None = None,
        *,
        gamma: float = 0.9,
        alpha: Callable[[int], float] = lambda visits: 0.1,
        epsilon: Callable[[int], float] = lambda t: 0.5,
        initial: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.n_allowed, self.features = n_allowed, features or [[s] for s in range(len(n_allowed))]
        self.gamma, self.alpha, self.epsilon, self.random, self.t = gamma, alpha, epsilon, SplitMix(seed), 0
        share = initial / len(self.features[0])
        self.w = {(f, a): share for s, n in enumerate(n_allowed) for a in range(n) for f in self.features[s]}
        self.visits: dict[Any, int] = defaultdict(int)
        self.begin()

    def begin(self) -> None:
        """A new episode."""

    def q(self, s: int, a: int) -> float:
        return sum(self.w[f, a] for f in self.features[s])

    def row(self, s: int) -> list[float]:
        return [self.q(s, a) for a in range(self.n_allowed[s])]

    def move(self, s: int, a: int, amount: float) -> None:
        for f in self.features[s]:
            self.w[f, a] += amount / len(self.features[s])

    def greedy(self, s: int) -> int:
        return int(np.argmax(self.row(s)))

    def probability(self, s: int, a: int) -> float:
        """Of the ε-greedy choice."""
        epsilon = self.epsilon(self.t)
        return epsilon / self.n_allowed[s] + (1 - epsilon) * (a == self.greedy(s))

    def act(self, s: int) -> int:
        bits = self.random.bits()
        coin, choice = (bits >> 32) / 2**32, ((bits & 0xFFFFFFFF) * self.n_allowed[s]) >> 32
        return choice if coin < self.epsilon(self.t) else self.greedy(s)

    def observe(self, s: int, a: int, r: float, s2: int, terminated: bool, truncated: bool, start: int) -> int:
        self.t += 1
        over = terminated or truncated
        alpha = self.alpha(self.visits[self.features[s][0], a])
        for f in self.features[s]:
            self.visits[f, a] += 1
        a2 = self.act(s2) if self.looks_ahead else -1
        self.update(s, a, r, s2, a2, 0.0 if terminated else self.gamma, over, alpha)
        if over:
            self.begin()
            return self.act(start)
        return a2 if self.looks_ahead else self.act(s2)

    def update(self, s: int, a: int, r: float, s2: int, a2: int, gamma: float, over: bool, alpha: float) -> None:
        raise NotImplementedError


class QLearning(Learner):
    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.move(s, a, alpha * (r + gamma * max(self.row(s2)) - self.q(s, a)))


class Sarsa(Learner):
    looks_ahead = True

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.move(s, a, alpha * (r + gamma * self.q(s2, a2) - self.q(s, a)))


class ExpectedSarsa(Learner):
    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        mean = sum(self.probability(s2, b) * value for b, value in enumerate(self.row(s2)))
        self.move(s, a, alpha * (r + gamma * mean - self.q(s, a)))


class DoubleQ(Learner):
    """`w` is the mean of the two, on which the agent acts."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.both = dict(self.w), dict(self.w)

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        mine, other = self.both if self.random.bits() >> 63 else self.both[::-1]

        def q(w: Any, s: int, a: int) -> float:
            return sum(w[f, a] for f in self.features[s])

        best = int(np.argmax([q(mine, s2, b) for b in range(self.n_allowed[s2])]))
        error = r + gamma * q(other, s2, best) - q(mine, s, a)
        for f in self.features[s]:
            mine[f, a] += alpha * error / len(self.features[s])
            self.w[f, a] = (self.both[0][f, a] + self.both[1][f, a]) / 2


class SpeedyQ(Learner):
    """Azar et al. (2011), asynchronous: a round visits all pairs met so far; the first visit of each counts."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.k, self.now, self.before, self.seen = 0, dict(self.w), dict(self.w), set()

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        def target(w: Any) -> float:
            return r + gamma * max(w[s2, b] for b in range(self.n_allowed[s2]))

        if (s, a) in self.seen:
            return
        self.seen.add((s, a))
        before, now, alpha = target(self.before), target(self.now), 1 / (self.k + 1)
        self.w[s, a] = self.now[s, a] + alpha * (before - self.now[s, a]) + (1 - alpha) * (now - before)
        if self.seen == set(self.visits):
            self.k, self.before, self.now, self.seen = self.k + 1, self.now, dict(self.w), set()


class Windowed(Learner):
    """The boxes of chapter 7: S_0, A_0, R_1, S_1, A_1, ... of one episode, and the time τ that is updated."""

    looks_ahead = True

    def __init__(self, *args: Any, n: int, **options: Any) -> None:
        self.n = n
        super().__init__(*args, **options)

    def begin(self) -> None:
        self.S, self.A, self.R, self.steps, self.b = [], [], [0.0], [], []

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        if not self.S:
            self.S, self.A, self.b = [s], [a], [1.0]
        self.S.append(s2)
        self.A.append(a2)
        self.R.append(r)
        self.b.append(self.probability(s2, a2))
        self.steps.append(alpha)
        t, terminated = len(self.R) - 2, gamma == 0.0 and self.gamma > 0.0
        for tau in range(max(0, t - self.n + 1), t + 1 if over else max(0, t - self.n + 2)):
            s, a = self.S[tau], self.A[tau]
            self.move(s, a, self.steps[tau] * (self.target(tau, t + 1, terminated) - self.q(s, a)))

    def target(self, tau: int, end: int, terminated: bool) -> float:
        raise NotImplementedError


class NStepSarsa(Windowed):
    def target(self, tau, end, terminated):
        G = sum(self.gamma ** (i - tau - 1) * self.R[i] for i in range(tau + 1, end + 1))
        return G + (0.0 if terminated else self.gamma ** (end - tau) * self.q(self.S[end], self.A[end]))


class TreeBackup(Windowed):
    def __init__(self, *args: Any, greedy_target: bool, **options: Any) -> None:
        self.greedy_target = greedy_target
        super().__init__(*args, **options)

    def pi(self, s: int) -> list[float]:
        if self.greedy_target:
            return [float(b == self.greedy(s)) for b in range(self.n_allowed[s])]
        return [self.probability(s, b) for b in range(self.n_allowed[s])]

    def target(self, tau, end, terminated):
        G = self.R[end]
        if not terminated:
            G += self.gamma * sum(p * q for p, q in zip(self.pi(self.S[end]), self.row(self.S[end]), strict=True))
        for k in range(end - 1, tau, -1):
            s, pi = self.S[k], self.pi(self.S[k])
            leaves = sum(pi[b] * self.q(s, b) for b in range(self.n_allowed[s]) if b != self.A[k])
            G = self.R[k] + self.gamma * (leaves + pi[self.A[k]] * G)
        return G


class QSigma(TreeBackup):
    def __init__(self, *args: Any, sigma: float, **options: Any) -> None:
        self.sigma = sigma
        super().__init__(*args, **options)

    def target(self, tau, end, terminated):
        G = 0.0 if terminated else self.q(self.S[end], self.A[end])
        for k in range(end, tau, -1):
            if k == end and terminated:
                G = self.R[k]
                continue
            s, a, pi = self.S[k], self.A[k], self.pi(self.S[k])
            mean = sum(p * q for p, q in zip(pi, self.row(s), strict=True))
            weight = self.sigma * pi[a] / self.b[k] + (1 - self.sigma) * pi[a]
            G = self.R[k] + self.gamma * weight * (G - self.q(s, a)) + self.gamma * mean
        return G


class MonteCarlo(Learner):
    """First visit; the step size goes by the returns of a pair."""

    looks_ahead = True

    def __init__(self, *args: Any, longest: int = 10**9, **options: Any) -> None:
        self.longest = longest
        super().__init__(*args, **options)
        self.returns: dict[Any, list[float]] = defaultdict(list)

    def begin(self) -> None:
        self.episode: list[Any] = []

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.episode.append((s, a, r))
        if not over and len(self.episode) < self.longest:
            return
        G = gamma * self.q(s2, a2)
        pairs = [(self.features[s][0], a) for s, a, _ in self.episode]
        for t in range(len(pairs) - 1, -1, -1):
            s, a, r = self.episode[t]
            G = r + (G if t == len(pairs) - 1 else self.gamma * G)
            if pairs[t] not in pairs[:t]:
                self.move(s, a, self.alpha(len(self.returns[pairs[t]])) * (G - self.q(s, a)))
                self.returns[pairs[t]].append(G)
        self.begin()


class Traced(Learner):
    """Traces `z` over all weights, none ever dropped; each weight has the step size of its own last visit."""

    looks_ahead = True

    def __init__(self, *args: Any, lambda_: float, replacing: bool = False, **options: Any) -> None:
        self.lambda_, self.replacing = lambda_, replacing
        super().__init__(*args, **options)

    def begin(self) -> None:
        self.z = dict.fromkeys(self.w, 0.0)

    def mark(self, s: int, a: int) -> None:
        for f in self.features[s]:
            if self.replacing:
                for b in range(self.n_allowed[s]):
                    self.z[f, b] = 0.0
            self.z[f, a] += 1.0

    def learn(self, error: float, n: int) -> None:
        for weight, level in self.z.items():
            if level:
                self.w[weight] += self.alpha(self.visits[weight] - 1) / n * error * level

    def fade(self, factor: float) -> None:
        self.z = {weight: factor * level for weight, level in self.z.items()}


class SarsaLambda(Traced):
    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        error = r + gamma * self.q(s2, a2) - self.q(s, a)
        self.mark(s, a)
        self.learn(error, len(self.features[s]))
        self.fade(self.gamma * self.lambda_)


class WatkinsQ(Traced):
    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        best = max(self.row(s2))
        error, follows = r + gamma * best - self.q(s, a), self.q(s2, a2) == best
        self.mark(s, a)
        self.learn(error, len(self.features[s]))
        self.fade(self.gamma * self.lambda_ if follows else 0.0)


class PengQ(Traced):
    """Peng and Williams (1996), figure 1, steps D to H."""

    looks_ahead = False

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        own = r + gamma * max(self.row(s2)) - self.q(s, a)
        along = r + gamma * max(self.row(s2)) - max(self.row(s))
        self.fade(self.gamma * self.lambda_)
        self.learn(along, len(self.features[s]))
        self.move(s, a, alpha * own)
        self.mark(s, a)


class TrueOnlineSarsa(Learner):
    """Its definition, the online λ-return algorithm: van Seijen et al. (2016), section 4.1. At every step the whole
    episode is learned anew from the weights at its beginning, with the λ-returns that are known by now.
    """

    looks_ahead = True

    def __init__(self, *args: Any, lambda_: float, **options: Any) -> None:
        self.lambda_ = lambda_
        super().__init__(*args, **options)

    def begin(self) -> None:
        self.first, self.episode = dict(self.w), []

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.episode.append((s, a, r, gamma * self.q(s2, a2), alpha))  # the bootstrap, with the weights of its time
        self.w, h = dict(self.first), len(self.episode)
        for k in range(h):
            returns = []  # of 1, 2, ..., h - k steps
            for n in range(1, h - k + 1):
                rewards = sum(self.gamma**i * self.episode[k + i][2] for i in range(n))
                returns.append(rewards + self.gamma ** (n - 1) * self.episode[k + n - 1][3])
            weights = [(1 - self.lambda_) * self.lambda_**n for n in range(h - k - 1)] + [self.lambda_ ** (h - k - 1)]
            s, a, _, _, alpha = self.episode[k]
            self.move(s, a, alpha * (float(np.dot(weights, returns)) - self.q(s, a)))


class Model:
    """What followed each pair, and the rewards each time: (s', ended, rewards) for at most so many different ones."""

    def __init__(self, most: int = 99) -> None:
        self.seen: dict[Any, list[tuple[int, bool, list[float]]]] = defaultdict(list)
        self.most = most

    def remember(self, s: int, a: int, r: float, s2: int, ended: bool) -> None:
        outcomes = self.seen[s, a]
        for outcome in outcomes:
            if outcome[:2] == (s2, ended):
                outcome[2].append(r)
                return
        if len(outcomes) < self.most:
            outcomes.append((s2, ended, [r]))
        else:
            outcomes[int(np.argmin([len(rewards) for *_, rewards in outcomes]))] = (s2, ended, [r])

    def backup(self, pair: Any, gamma: float, value: Callable[[int], float]) -> float:
        n = sum(len(rewards) for *_, rewards in self.seen[pair])
        return sum(
            len(rewards) / n * (np.mean(rewards) + (0.0 if ended else gamma * value(s2)))
            for s2, ended, rewards in self.seen[pair]
        )


class DynaQ(Learner):
    """`kappa` > 0 is Dyna-Q+: section 8.3, with footnote 1 on actions that were never tried."""

    def __init__(self, *args: Any, n: int, kappa: float = 0.0, most: int = 99, **options: Any) -> None:
        super().__init__(*args, **options)
        self.n, self.kappa, self.model, self.known, self.last = n, kappa, Model(most), [], defaultdict(int)

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.move(s, a, alpha * (r + gamma * max(self.row(s2)) - self.q(s, a)))
        self.model.remember(s, a, r, s2, gamma == 0.0)
        self.last[s, a] = self.t
        for pair in [(s, a), *((s, b) for b in range(self.n_allowed[s]) if self.kappa)]:
            if pair not in self.known:
                self.known.append(pair)
        for _ in range(self.n):
            s, a = pair = self.known[int(self.random.uniform() * len(self.known))]
            target = self.gamma * max(self.row(s))
            if pair in self.model.seen:
                outcomes = [(s2, ended, np.mean(r)) for s2, ended, r in self.model.seen[pair] for _ in r]
                s2, ended, r = outcomes[int(self.random.uniform() * len(outcomes))]
                target = r + (0.0 if ended else self.gamma * max(self.row(s2)))
            target += self.kappa * sqrt(self.t - self.last[pair])
            self.move(s, a, self.alpha(max(self.visits[pair] - 1, 0)) * (target - self.q(s, a)))


class RMax(Learner):
    """Plans to the end whenever a pair has been seen m, 2m, 4m, ... times."""

    def __init__(self, *args: Any, m: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.m, self.model = m, Model()

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        self.model.remember(s, a, r, s2, gamma == 0.0)
        if self.visits[s, a] in [self.m * 2**i for i in range(20)]:
            known = [pair for pair in self.model.seen if self.visits[pair] >= self.m]
            for _ in range(300):
                self.w |= {pair: self.model.backup(pair, self.gamma, lambda s: max(self.row(s))) for pair in known}


class DelayedQ(Learner):
    """Strehl et al. (2006), algorithm 1, in its own letters."""

    def __init__(self, *args: Any, m: int, epsilon_1: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.m, self.epsilon_1, self.t_star = m, epsilon_1, 0
        self.U, self.l = dict.fromkeys(self.w, 0.0), dict.fromkeys(self.w, 0)
        self.tried, self.LEARN = dict.fromkeys(self.w, 0), dict.fromkeys(self.w, True)

    def update(self, s, a, r, s2, a2, gamma, over, alpha):
        p = s, a
        if self.LEARN[p]:
            self.U[p] += r + gamma * max(self.row(s2))
            self.l[p] += 1
            if self.l[p] == self.m:
                if self.w[p] - self.U[p] / self.m >= 2 * self.epsilon_1:
                    self.w[p] = self.U[p] / self.m + self.epsilon_1
                    self.t_star = self.t
                elif self.tried[p] >= self.t_star:
                    self.LEARN[p] = False
                self.tried[p], self.U[p], self.l[p] = self.t, 0.0, 0
        elif self.tried[p] < self.t_star:
            self.LEARN[p] = True
