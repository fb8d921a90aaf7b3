#!/usr/bin/env python3
"""adflow beside PyTorch, ONNX Runtime and OpenVINO on the same work, alternating.

    pip install torch onnx onnxruntime openvino
    benches/side_by_side.py taps [--threads 1] [--rounds 8]
    benches/side_by_side.py flow [--threads 2] [--rounds 8]

Each round times every engine for some seconds, one after the other, so that all see the same machine. Prints the fastest
run, the median over rounds of the medians, and the ratios to adflow; wall time, f32. The works are those of
`benches/session.rs`, with random weights.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent


def adflow_bench():
    build = ["cargo", "bench", "-p", "adflow-benches", "--bench", "session", "--no-run", "--message-format=json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "session")


class Conv(nn.Module):
    """A convolution padded as TensorFlow does: an odd zero goes to the right and below."""

    def __init__(self, cin, cout, k, stride=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, 0, groups=groups)
        self.act = act

    def forward(self, x):
        k, s = self.conv.kernel_size[0], self.conv.stride[0]
        total = max((-(-x.shape[-1] // s) - 1) * s + k - x.shape[-1], 0)
        if total % 2 == 0:
            x = F.conv2d(x, self.conv.weight, self.conv.bias, s, total // 2, groups=self.conv.groups)
        else:
            x = self.conv(F.pad(x, [total // 2, total - total // 2] * 2))
        return F.relu6(x) if self.act else x


class Taps(nn.Module):
    """MobileNetV2 to features.13, widening factors, channels, repeats and strides of its table 2."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks, cin = Conv(3, 32, 3, 2), nn.ModuleList(), 32
        for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]:
            for i in range(n):
                wide = cin * t
                layers = [Conv(cin, wide, 1)] if t > 1 else []
                layers += [Conv(wide, wide, 3, s if i == 0 else 1, wide), Conv(wide, c, 1, act=False)]
                self.blocks.append(nn.Sequential(*layers))
                cin = c

    def forward(self, x):
        x, taps = self.stem(x), []
        for i, block in enumerate(self.blocks, 1):
            y = block(x)
            x = x + y if x.shape == y.shape else y
            if i in (6, 13):
                taps.append(x)
        return tuple(taps)


class Level(nn.Module):
    """The 2^l couplings of one level of a dense block, side by side; scales and translations from grouped linear layers."""

    def __init__(self, sets, size, hidden):
        super().__init__()
        self.sets, self.size, self.a = sets, size, size // 2
        dims = [(self.a, hidden), (hidden, hidden), (hidden, size - self.a)]
        self.w = nn.ParameterList([nn.Parameter(torch.randn(2 * sets, i, o) * (0.0 if n == 2 else i**-0.5))
                                   for n, (i, o) in enumerate(dims)])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(2 * sets, 1, o)) for _, o in dims])

    def forward(self, x):
        v = x.view(len(x), self.sets, self.size)
        u, w = v[..., : self.a], v[..., self.a :]
        h = u.transpose(0, 1).repeat(2, 1, 1)
        h = torch.relu(torch.baddbmm(self.b[0], h, self.w[0]))
        h = torch.relu(torch.baddbmm(self.b[1], h, self.w[1]))
        h = torch.baddbmm(self.b[2], h, self.w[2])
        s, t = h[: self.sets].transpose(0, 1), h[self.sets :].transpose(0, 1)
        s = (4 / torch.pi) * torch.atan(s / 2)
        return torch.cat([u, w * torch.exp(s) + t], -1).reshape(x.shape), s.sum((1, 2))


def flow_step():
    dims, levels = 768, 9
    blocks = nn.ModuleList(
        nn.ModuleList(Level(1 << l, dims >> l, max(dims >> l, 8)) for l in reversed(range(levels))) for _ in range(3)
    )
    permutations = [torch.randperm(dims) for _ in blocks]
    optimiser = torch.optim.Adam(blocks.parameters(), lr=2e-4, betas=(0.8, 0.8), eps=1e-4, weight_decay=1e-5)
    x = torch.randn(96, dims)

    def step():
        z, j = x, 0
        for block, permutation in zip(blocks, permutations):
            z = z[:, permutation]
            for level in block:
                z, d = level(z)
                j = j + d
        loss = ((0.5 * z.square().sum(1) - j) / dims).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return {"PyTorch": step}


def taps(threads):
    import numpy as np
    import onnxruntime
    import openvino

    net, x = Taps().eval(), torch.randn(1, 3, 320, 320)
    file = "/tmp/adflow_taps.onnx"
    torch.onnx.export(net, (x,), file, input_names=["x"], output_names=["tap6", "tap13"], opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    ort = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    ov = openvino.Core().compile_model(file, "CPU", hints).create_infer_request()
    array = x.numpy()
    expected = [t.detach().numpy() for t in net(x)]
    for name, got in [("ONNX Runtime", ort.run(None, {"x": array})), ("OpenVINO", [ov.infer({"x": array})[i] for i in (0, 1)])]:
        assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(expected, got)), name

    def in_torch():
        with torch.inference_mode():
            net(x)

    return {
        "PyTorch": in_torch,
        "ONNX Runtime": lambda: ort.run(None, {"x": array}),
        "OpenVINO": lambda: ov.infer({"x": array}),
    }


def timed(run, seconds):
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return {"min": min(times), "p50": statistics.median(times)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["taps", "flow"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    a = parser.parse_args()
    threads = a.threads or {"taps": 1, "flow": 2}[a.work]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    peers = taps(threads) if a.work == "taps" else flow_step()
    bench = [adflow_bench(), a.work, "--threads", str(threads), "--seconds", str(a.seconds)]
    rounds = []
    for _ in range(a.rounds):
        ours = json.loads(subprocess.run(bench, check=True, capture_output=True, text=True).stdout)
        rounds.append({"adflow": ours} | {name: timed(run, a.seconds) for name, run in peers.items()})
    best = {name: min(r[name]["min"] for r in rounds) for name in rounds[0]}
    typical = {name: statistics.median(r[name]["p50"] for r in rounds) for name in rounds[0]}
    ratio = {name: [round(r["adflow"]["p50"] / r[name]["p50"], 2) for r in rounds] for name in peers}
    print(f"{a.work}, {threads} thread(s), {a.rounds} rounds, milliseconds")
    for name in rounds[0]:
        print(f"{name:13} fastest {best[name]:8.2f}   median {typical[name]:8.2f}   "
              f"adflow takes {best['adflow'] / best[name]:.2f} (fastest), {typical['adflow'] / typical[name]:.2f} (median)"
              + (f"   by round {min(ratio[name])} to {max(ratio[name])}" if name in ratio else ""))


if __name__ == "__main__":
    main()
