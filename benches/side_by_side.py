#!/usr/bin/env python3
"""adflow beside PyTorch, ONNX Runtime and OpenVINO on the same work, alternating.

    pip install torch onnx onnxruntime openvino
    benches/side_by_side.py taps [--threads 1] [--rounds 8]
    benches/side_by_side.py flow [--threads 2] [--rounds 8]
    benches/side_by_side.py gpu  [--device vulkan] [--torch cuda] [--rounds 8]

`gpu` is the whole comparison on a graphics card: scoring one image, scoring 64, and a training step, against PyTorch eager,
`torch.compile` and CUDA graphs on the same card, copies of inputs and results included on both sides. Each round times every engine for some seconds, one after the other, so that all see the same machine. Prints the fastest
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
    """MobileNetV2 to features.13 or further; widening factors, channels, repeats and strides of its table 2."""

    def __init__(self, last=((6, 96, 3, 1),), shown=(6, 13)):
        super().__init__()
        self.stem, self.blocks, self.shown, cin = Conv(3, 32, 3, 2), nn.ModuleList(), shown, 32
        for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), *last]:
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
            if i in self.shown:
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


class Flow(nn.Module):
    """Three dense blocks over 768 dimensions, nine levels each."""

    def __init__(self, dims=768, levels=9):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(Level(1 << l, dims >> l, max(dims >> l, 8)) for l in reversed(range(levels))) for _ in range(3)
        )
        self.permutations = nn.ParameterList(nn.Parameter(torch.randperm(dims), requires_grad=False) for _ in self.blocks)

    def forward(self, z):
        j = 0
        for block, permutation in zip(self.blocks, self.permutations):
            z = z[:, permutation]
            for level in block:
                z, d = level(z)
                j = j + d
        return z, j


def loss_of(flow, x):
    z, j = flow(x)
    return ((0.5 * z.square().sum(1) - j) / z.shape[1]).mean()


def trainer(flow, forward, **options):
    optimiser = torch.optim.Adam(flow.parameters(), lr=2e-4, betas=(0.8, 0.8), eps=1e-4, weight_decay=1e-5, **options)

    def step(x):
        loss = forward(x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    return step


def flow_step():
    flow, x = Flow(), torch.randn(96, 768)
    step = trainer(flow, lambda x: loss_of(flow, x))
    return {"PyTorch": lambda: step(x)}


class Score(nn.Module):
    """CDNF's score: means of MobileNetV2's features.13 and features.16 at three scales, the flow, the mean of z squared."""

    def __init__(self):
        super().__init__()
        self.net, self.flow = Taps([(6, 96, 3, 1), (6, 160, 3, 2)], (13, 16)), Flow()

    def forward(self, x):
        means = [tap.mean((2, 3)) for s in (1, 2, 4) for tap in self.net(x[:, :, ::s, ::s])]
        return self.flow(torch.cat(means, 1))[0].square().mean(1)


def captured(run, x):
    """The run as a CUDA graph over a static input."""
    for _ in range(3):
        run(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run(x)
    return graph, y


def on_card(device, batch):
    """Scoring `batch` images from host memory to scores in host memory."""
    net, image = Score().eval().to(device), torch.randn(batch, 3, 224, 224)
    image = image.pin_memory() if device == "cuda" else image

    def through(run):
        def once():
            with torch.inference_mode():
                return run(image.to(device, non_blocking=True)).cpu()

        return once

    peers = {"PyTorch": through(net)}
    if device == "cuda":
        peers["torch.compile"] = through(torch.compile(net))
        static = torch.empty_like(image, device=device)
        with torch.inference_mode():
            graph, y = captured(net, static)

        def replay():
            static.copy_(image, non_blocking=True)
            graph.replay()
            return y.cpu()

        peers["CUDA graph"] = replay
        expected = peers["PyTorch"]()
        for name in ("torch.compile", "CUDA graph"):
            assert torch.allclose(peers[name](), expected, rtol=1e-2), name
    return peers


def steps_on_card(device):
    """A training step from features in host memory to the loss in host memory."""
    x = torch.randn(96, 768)
    x = x.pin_memory() if device == "cuda" else x
    flow = Flow().to(device)
    eager = trainer(flow, lambda x: loss_of(flow, x))
    peers = {"PyTorch": lambda: eager(x.to(device, non_blocking=True)).item()}
    if device == "cuda":
        other = Flow().to(device)
        compiled = torch.compile(lambda x: loss_of(other, x))
        fast = trainer(other, compiled, fused=True)
        peers["torch.compile"] = lambda: fast(x.to(device, non_blocking=True)).item()
        third = Flow().to(device)
        plain = trainer(third, lambda x: loss_of(third, x), capturable=True)
        static = x.to(device)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            graph, loss = captured(plain, static)

        def replay():
            static.copy_(x, non_blocking=True)
            graph.replay()
            return loss.item()

        peers["CUDA graph"] = replay
    return peers


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


def compare(title, bench, peers, rounds, seconds):
    """Alternates our bench with the peers and prints the table."""
    found = []
    for _ in range(rounds):
        ours = json.loads(subprocess.run(bench, check=True, capture_output=True, text=True).stdout)
        found.append({"adflow": ours} | {name: timed(run, seconds) for name, run in peers.items()})
    best = {name: min(r[name]["min"] for r in found) for name in found[0]}
    typical = {name: statistics.median(r[name]["p50"] for r in found) for name in found[0]}
    ratio = {name: [round(r["adflow"]["p50"] / r[name]["p50"], 2) for r in found] for name in peers}
    print(f"{title}, {rounds} rounds, milliseconds; adflow on {found[0]['adflow']['device']}")
    for name in found[0]:
        print(f"{name:13} fastest {best[name]:8.2f}   median {typical[name]:8.2f}   "
              f"adflow takes {best['adflow'] / best[name]:.2f} (fastest), {typical['adflow'] / typical[name]:.2f} (median)"
              + (f"   by round {min(ratio[name])} to {max(ratio[name])}" if name in ratio else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["taps", "flow", "gpu"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--device", default="vulkan", help="adflow's device for `gpu`")
    parser.add_argument("--torch", default="cuda", help="PyTorch's device for `gpu`")
    a = parser.parse_args()
    threads = a.threads or {"taps": 1, "flow": 2, "gpu": 2}[a.work]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    program = adflow_bench()

    def bench(work, *options):
        return [program, work, "--threads", str(threads), "--seconds", str(a.seconds), *options]

    if a.work != "gpu":
        peers = taps(threads) if a.work == "taps" else flow_step()
        compare(f"{a.work}, {threads} thread(s)", bench(a.work), peers, a.rounds, a.seconds)
        return
    for batch in (1, 64):
        ours = bench("score", "--device", a.device, "--batch", str(batch))
        compare(f"score, batch {batch}", ours, on_card(a.torch, batch), a.rounds, a.seconds)
    compare("training step, batch 96", bench("flow", "--device", a.device), steps_on_card(a.torch), a.rounds, a.seconds)


if __name__ == "__main__":
    main()
