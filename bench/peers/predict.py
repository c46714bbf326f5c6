"""The network of bench/acting.py: `predict` of Stable-Baselines3's DQN, and ONNX Runtime on the same weights."""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from stable_baselines3 import DQN

ONE, MANY = np.full(4, 0.1, np.float32), np.full((1000, 4), 0.1, np.float32)


def clock(call: Callable[[], Any], calls: int) -> float:
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return 1e6 * median(seconds)


def measured(act: Callable[[Any], Any], first: Any = ONE) -> dict[str, float]:
    begin = time.perf_counter()
    act(first)
    seconds = time.perf_counter() - begin
    act(MANY)
    return {"first": seconds, "one": clock(lambda: act(first), 3000), "many": clock(lambda: act(MANY), 200)}


def as_onnx(network: torch.nn.Sequential) -> bytes:
    """Linear layers and ReLU."""
    nodes, weights, name = [], [], "obs"
    for i, layer in enumerate(network):
        if isinstance(layer, torch.nn.Linear):
            parts = {"w": layer.weight, "b": layer.bias}
            for key, part in parts.items():
                weights.append(onnx.numpy_helper.from_array(part.detach().numpy(), f"{key}{i}"))
            nodes.append(onnx.helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"x{i}"], transB=1))
        else:
            nodes.append(onnx.helper.make_node("Relu", [name], [f"x{i}"]))
        name = f"x{i}"
    nodes.append(onnx.helper.make_node("ArgMax", [name], ["action"], axis=1, keepdims=0))
    obs = onnx.helper.make_tensor_value_info("obs", onnx.TensorProto.FLOAT, ["n", 4])
    action = onnx.helper.make_tensor_value_info("action", onnx.TensorProto.INT64, ["n"])
    graph = onnx.helper.make_graph(nodes, "q", [obs], [action], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


model = DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [64, 64]}, buffer_size=10, device="cpu")


def predict(obs: Any) -> Any:
    return model.predict(obs, deterministic=True)[0]


threads = torch.get_num_threads()
of_all = measured(predict)
torch.set_num_threads(1)
of_one = measured(predict)
sb3 = {key: min(of_all[key], of_one[key]) for key in ("one", "many")} | {"first": of_all["first"]}

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(as_onnx(model.q_net.q_net), options, providers=["CPUExecutionProvider"])


def infer(obs: Any) -> Any:
    return session.run(None, {"obs": obs})[0]


np.testing.assert_array_equal(infer(MANY), predict(MANY))
answers = {"Stable-Baselines3, predict": sb3, "ONNX Runtime": measured(infer, ONE[None])}
print(json.dumps(answers))
