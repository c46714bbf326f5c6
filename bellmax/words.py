"""Plain Python. The words of other libraries and of tutorials, and what bellmax calls them: for calls and command line.

None of them is accepted in silence: units, defaults and meanings differ between libraries, and a run's files name one
setting by one word. Each is answered by the setting to write, with the value that was given.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from bellmax.contracts import listed, nearest

# the arguments of bx.train, and for each its option of `bellmax train`; None where there is none
OPTIONS: dict[str, str | None] = {
    "world": "ENV", "agent": "--agent", "steps": "--steps", "episodes": "--episodes", "seeds": "--seeds",
    "out": "--out", "if_exists": "--if-exists", "loop": "--loop",
    "env_kwargs": "--env", "records": "--records", "record_spacing": "--record-spacing",
    "keep_policies": "--keep-policies", "on_record": None, "eval_episodes": "--eval-episodes",
    "final_episodes": "--final-episodes", "keep_episodes": None, "data": "--data",
    "keep_experience": "--keep-experience", "keep_checkpoints": "--keep-checkpoints",
    "save_replay_every": "--save-replay-every", "wrappers": "--wrapper", "workers": "--workers",
    "env_timeout": "--env-timeout", "env_restarts": "--env-restarts",
    "on_nonfinite": "--on-nonfinite", "strict": "--strict", "vmap": None, "options": None,
    "progress": "--quiet", "say": None,
}  # fmt: skip

# word: what to write in its place, the first line whose settings the agent has; {0} is the value. A line without
# settings is advice for every agent.
WORDS: dict[str, tuple[str, ...]] = {}


def _same(words: str, *lines: str) -> None:
    WORDS.update(dict.fromkeys(words.split(), lines))


NEAR = 0.65  # a name of ours that is less like the word is not what is meant
ON = {"tau": 0.005, "reward_clip": 1.0, "max_grad_norm": 10.0}  # what a switch of others means, where ours is a number
MIN_WIDTH = 8  # a smaller number in place of layers is probably how many there are

CONSTANT = "exploration_initial_eps={0}, exploration_final_eps={0}"
BY_STEPS = "ε falls with the steps: give exploration_initial_eps, exploration_final_eps and exploration_fraction"
FIRST = "the environment is the first argument and the agent the second: train('CartPole-v1', 'dqn')"
LIMIT = "env_kwargs={{'max_episode_steps': {0}}}"

_same("alpha lr step_size learning_rate_init init_lr", "learning_rate={0}")
_same("discount discount_factor discount_rate", "gamma={0}")
_same("epsilon eps exploration_rate explore_rate", CONSTANT)
_same("epsilon_start eps_start start_epsilon initial_epsilon epsilon_initial epsilon_max max_epsilon eps_max "
      "start_e max_exploration_rate epsilon_init", "exploration_initial_eps={0}")  # fmt: skip
_same("epsilon_end eps_end end_epsilon final_epsilon epsilon_final epsilon_min min_epsilon eps_min min_eps end_e "
      "min_exploration_rate exploration_min exploration_final", "exploration_final_eps={0}")  # fmt: skip
_same("epsilon_decay eps_decay epsilon_decay_rate exploration_decay_rate epsilon_discount",
      "exploration_schedule='per-episode', exploration_decay={0}", BY_STEPS)  # fmt: skip
_same("decay_rate decay",
      "exploration_schedule='per-episode' and exploration_decay=..., the factor of ε after each episode "
      "(exp(-rate) for exp(-rate * episode)); of the step size: learning_rate_decay", BY_STEPS)  # fmt: skip
_same("n_episodes num_episodes max_episodes total_episodes n_eps num_eps", "episodes={0}",
      "agents with a network explore and learn by steps: give steps, such as steps=100_000")  # fmt: skip
_same("epsilon_decay_steps eps_decay_steps exploration_steps annealing_steps epsilon_timesteps",
      "exploration_fraction is a share of the run's steps: divide {0} by steps")  # fmt: skip
_same("total_timesteps timesteps total_steps n_timesteps num_timesteps max_timesteps num_steps max_steps frames "
      "n_iterations iterations budget max_timestep", "steps={0}")  # fmt: skip
_same("seed random_state random_seed rng", "seeds=[{0}]")
_same("n_seeds num_seeds runs n_runs num_runs trials n_trials", "seeds={0}")
_same("env env_id env_name environment game task env_fn", FIRST)
_same("model algo algorithm", FIRST)
_same(
    "policy",
    "the network follows from the observations; network and net_arch choose another: leave policy out",
)
_same("policy_kwargs hidden_sizes hidden_layers hidden_layer_sizes hidden_dims hidden_dim hidden_size hidden hiddens "
      "layers n_hidden fc_layers units fcnet_hiddens", "net_arch={0}",
      "a table has no layers; agents with a network, such as dqn, have net_arch")  # fmt: skip
_same(
    "activation activation_fn activation_function nonlinearity fcnet_activation",
    "hidden layers are rectified (ReLU); leave it out",
)
_same("device cuda gpu use_gpu use_cuda", "JAX chooses the device: set JAX_PLATFORMS=cpu (or cuda) before Python "
      "starts; leave it out")  # fmt: skip
_same("verbose verbosity", "progress=True shows a bar, say=print the lines; on the command line --quiet is silent")
_same("progress_bar", "progress={0}")
_same("tensorboard_log tb_log_name tensorboard wandb use_wandb track logger log_dir logdir log_path",
      "out='runs/mine' writes history.csv with every record, and run.history has it in Python")  # fmt: skip
_same("save_path save_dir model_path checkpoint_dir output output_dir folder", "out={0!r}")
_same(
    "exp_name run_name experiment_name experiment name wandb_project_name",
    "out='runs/mine' names the folder of the run",
)
_same("callback callbacks", "on_record=function is called after each record, with its numbers and policies")
_same(
    "log_interval log_freq log_every print_interval print_every print_freq log_frequency stats_window_size",
    "records is how often to log over the whole run, by default 20",
)
_same(
    "eval_freq eval_interval evaluate_every evaluation_interval eval_every test_every",
    "records is how often to evaluate over the whole run, by default 20",
)
_same("n_eval_episodes num_eval_episodes", "eval_episodes={0}")
_same("save_freq save_every save_interval checkpoint_freq checkpoint_every checkpoint_interval save_model",
      "with out='runs/mine' the run saves itself every 30 seconds; leave it out")  # fmt: skip
_same("load load_path resume_from restore pretrained load_model", "bellmax.resume(folder) finishes a saved run, and "
      "bellmax.load(folder) reads it; leave it out")  # fmt: skip
_same("q_table qtable q_values qvalues table", "the run makes its table; run.policy(0).table() has it afterwards, and "
      "initial_q is its first value", "a network has no table; leave it out")  # fmt: skip
_same(
    "capture_video record_video video record monitor save_video", "bellmax.evaluate plays the policy: leave it out here"
)
_same(
    "torch_deterministic deterministic jit compile framework torch_compile backend dtype num_gpus n_gpus num_cpus",
    "networks are compiled by JAX and tables by Numba, and the same seed gives the same run: leave it out",
)
_same("behavior behaviour exploration_strategy exploration_policy action_selection explore exploration_type",
      "exploration={0!r}")  # fmt: skip
_same("softmax boltzmann use_softmax", "exploration='boltzmann'")
_same("env_config env_args env_options env_params make_kwargs", "env_kwargs={0!r}")
_same("frame_stack n_stack num_stack frames_stack stack_frames",
      "wrappers=[{{'name': 'FrameStackObservation', 'stack_size': {0}}}]")  # fmt: skip
_same("frame_skip frameskip action_repeat repeat_action", "env_kwargs={{'frameskip': {0}}} of an Atari game")
_same(
    "normalize_reward normalize_rewards norm_reward reward_norm reward_normalization",
    "reward_scale multiplies the rewards by a number; it is part of the agent: leave it out",
    "a table needs no scale of rewards: leave it out",
)
_same("optimize_memory_usage replay_buffer_class replay_buffer_kwargs memory_class buffer_class", "the replay buffer "
      "follows from the agent's settings, buffer_size and prioritized: leave it out", "a table has no replay buffer: "
      "leave it out")  # fmt: skip
_same(
    "epochs_total epoch max_epoch n_epochs num_epochs step_per_epoch steps_per_epoch",
    "a run has no epochs: give steps, "
    "how many environment steps it has in all, and records, how often it is logged and evaluated",
)
_same(
    "training_num test_num train_num", "num_envs, environments side by side; eval_episodes, episodes of an evaluation"
)
_same(
    "reward_threshold target_score target_reward solved solved_score stop_fn early_stopping stop_reward patience",
    "a run ends at a score with on_record=bx.stop_at(score); the best policy is always stored beside the final one",
)
_same("huber use_huber huber_loss", "loss='huber'", "a table has no loss: leave it out")
_same("render render_mode", "env_kwargs={{'render_mode': {0!r}}}")
_same("max_episode_steps max_steps_per_episode max_episode_length max_ep_len time_limit episode_length horizon",
      LIMIT)  # fmt: skip
_same("n_envs num_environments n_env vec_env_num", "num_envs={0}", "a table learns from one environment: leave it out")
_same("n_workers num_workers n_jobs num_processes", "workers={0}")
_same("batch minibatch minibatch_size mini_batch_size", "batch_size={0}")
_same("memory_size replay_size memory replay buffer buffer_capacity replay_capacity capacity replay_memory_size "
      "replay_buffer_size memory_capacity max_memory max_size buffer_len", "buffer_size={0}")  # fmt: skip
_same("target_update target_update_freq target_network_frequency target_update_frequency update_target_every "
      "target_network_update_freq target_update_period sync_target target_sync copy_every target_freq",
      "target_update_interval={0}, in environment steps (not episodes or gradient steps)")  # fmt: skip
_same("polyak polyak_tau soft_update soft_tau target_tau tau_soft use_soft_update", "tau={0}")
_same("warmup warmup_steps warmup_episodes train_start start_steps start_training learning_start "
      "replay_start_size min_replay_size burnin initial_exploration_steps initial_exploration prefill "
      "num_steps_sampled_before_learning_starts",
      "learning_starts={0}, in environment steps")  # fmt: skip
_same("update_every update_freq train_every learn_every train_frequency update_frequency", "train_freq={0}")
_same("n_updates num_updates utd updates_per_step", "gradient_steps={0}")
_same("optim optimizer_class opt optimiser", "optimizer={0!r}")
_same("lr_schedule lr_scheduler scheduler", "learning_rate_schedule={0!r}")
_same("loss_fn criterion loss_function", "loss={0!r}")
_same("grad_clip gradient_clip clip_grad clip_grad_norm gradient_clipping grad_norm clipnorm", "max_grad_norm={0}")
_same("double_q double_dqn use_double ddqn", "double={0}")
_same("duel dueling_dqn use_dueling duelling", "dueling={0}")
_same("prioritized_replay_alpha per_alpha prioritized_alpha", "priority_alpha={0}")
_same("beta prioritized_replay_beta prioritized_replay_beta0 per_beta prioritized_beta beta_start",
      "priority_beta={0}", "the exponent of importance weights belongs to prioritized replay, which a table does not "
      "have: leave it out")  # fmt: skip
_same("prioritized_replay_eps per_eps prioritized_replay_epsilon", "priority_epsilon={0}")
_same("per prioritized_replay prioritised prioritised_replay use_per prioritized_experience_replay", "prioritized={0}")
_same("noisy_net noisy_nets noisynet use_noisy", "noisy={0}")
_same("nstep nsteps n_step multi_step multistep n_step_returns estimation_step", "n_steps={0}")
_same("lam lmbda lambd td_lambda gae_lambda lambda_value trace_lambda", "trace_decay={0}", "lambda_={0}")
_same("q_init init_q initial_value optimistic_value optimism init_value default_q", "initial_q={0}")
_same("temp tau_boltzmann boltzmann_temperature", "temperature={0}", "exploration_scale={0}")
_same("atoms num_atoms atom_size", "n_atoms={0}")
_same("quantiles num_quantiles", "n_quantiles={0}")
_same("vmin v_minimum", "v_min={0}")
_same("vmax v_maximum", "v_max={0}")
_same("n_bins num_bins buckets n_buckets discretization", "bins={0}")
_same("reward_clipping clip_rewards clip_reward", "reward_clip={0}")
_same(
    "normalize_obs norm_obs obs_norm normalise_observations observation_normalization normalize normalize_states "
    "normalize_observation normalize_input",
    "normalize_observations={0}",
)
_same(
    "layer_norm layernorm use_layer_norm", "normalization='layer'", "a table has no layers to normalize: leave it out"
)
_same("weight_decay_rate l2 l2_reg", "weight_decay={0}")
_same("adam_eps optimizer_eps", "adam_epsilon={0}")
_same("action_mask masks mask", "the environment gives masks, in info['action_mask'] or action_masks(): leave it out")
_same("lr_decay alpha_decay learning_rate_decay_rate", "learning_rate_decay={0}", "learning_rate_schedule='linear'")


def misnamed(
    name: str,
    value: object,
    settings: Iterable[str],
    agent: str = "",
    others: Callable[[str], Iterable[str]] = lambda name: (),
) -> str:
    """What is wrong with a hyper-parameter that the agent does not have, and what to write in its place.

    `others(name)` names the agents that have it. Names are looked for among the agent's `settings`, the arguments of
    `train` and the words of other libraries.
    """
    settings = list(settings)
    if name in OPTIONS:
        flag = OPTIONS[name]
        where = f", on the command line {flag}" if flag else ""
        return f"{name} is not a hyper-parameter but an argument of bx.train{where}"
    if have := list(others(name)):
        return f"unknown hyper-parameter {name!r}{f' of {agent}' if agent else ''}; agents that have it: {listed(have)}"
    word = name.lower()
    if word in WORDS:
        return f"unknown hyper-parameter {name!r}; {_advice(WORDS[word], value, settings)}"
    own = nearest(name, [*settings, *OPTIONS], NEAR)
    foreign = nearest(name, WORDS, cutoff=0.75)
    if foreign is not None and (own is None or _likeness(name, foreign) > _likeness(name, own)):
        return f"unknown hyper-parameter {name!r}; if you mean {foreign}: {_advice(WORDS[foreign], value, settings)}"
    remedy = f"known: {listed(sorted(settings))}" if own is None else f"did you mean {own!r}?"
    return f"unknown hyper-parameter {name!r}; {remedy}"


def option_meant(option: str) -> str:
    """What to write in place of an option of `train` that there is not, after a semicolon; "" if nothing is known."""
    name = option.lstrip("-").replace("-", "_").lower()
    line = WORDS.get(name, ("",))[0]
    meant = re.match(r"(\w+)=\{0", line)
    if meant is None:
        return ""
    flag = OPTIONS.get(meant.group(1), f"{meant.group(1)}=VALUE")
    return f"; write {flag} VALUE" if str(flag).startswith("--") else f"; write {flag}" if flag else ""


def _likeness(name: str, other: str) -> float:
    if sorted(name.lower()) == sorted(other.lower()):  # letters in another order
        return 1.0
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def _as_layers(value: object) -> tuple[int, ...]:
    """What somebody gives for hidden layers as `net_arch`: one width, for two layers, or a width for each."""
    if isinstance(value, Mapping):
        value = value.get("net_arch")
    if isinstance(value, list | tuple) and all(isinstance(width, int) for width in value):
        return tuple(value)
    return (value, value) if isinstance(value, int) and value >= MIN_WIDTH else (64, 64)


def _advice(lines: Sequence[str], value: object, settings: Sequence[str]) -> str:
    """The first line whose settings there are; else the first, and that the agent does not have it."""
    if lines[0].startswith("net_arch="):
        value = _as_layers(value)
    elif "render_mode" in lines[0] and not isinstance(value, str):  # a flag
        value = "human"
    number = re.fullmatch(r"(\w+)=\{0\}", lines[0])
    if isinstance(value, bool) and number and number[1] in ON:
        if not value:
            return "leave it out"
        value = ON[number[1]]
    for line in lines:
        names = re.findall(r"\b([a-z_]+)=", line)
        if "episodes" in names and "exploration_decay" not in settings:  # a network's run goes by steps
            continue
        if all(name in settings or name in OPTIONS for name in names):
            flags = list(dict.fromkeys(OPTIONS[name] for name in names if name not in settings and OPTIONS.get(name)))
            where = (
                f" (on the command line {', '.join(map(str, flags))})" if flags and "command line" not in line else ""
            )
            said = re.match(r"\w+=(?!\S* (is|names|writes) )", line) or (names and "{0" in line)
            return (f"write {line.format(value)}" if said else line.format(value)) + where
    return f"bellmax calls it {lines[0].format(value)}, which this agent does not have"
