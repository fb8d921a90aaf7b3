"""Writes backbones.txt: what torch makes of AlexNet and MobileNetV2 with weights from a formula.

Run with numpy, torch and torchvision installed:  python make_backbones.py
Each line is `network quantity arguments shape every | numbers`: the whole tensor has `shape`, the numbers are each
`every`-th of its values. Weights and images are the formula of `values` below, which the test computes as well, so no file
of weights is needed. torch runs in f64. AlexNet is torchvision's own; MobileNetV2 is written out here with TensorFlow's
padding and without batch normalisation.
"""
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
import torchvision


def values(name, count):
    """`count` numbers in -1..1: a hash of the counter, started at a hash (FNV-1a) of the name."""
    start = 0x811C9DC5
    for byte in name.encode():
        start = (start ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = np.arange(count, dtype=np.uint32) + np.uint32(start)
    x = (x ^ x >> np.uint32(16)) * np.uint32(0x7FEB352D)
    x = (x ^ x >> np.uint32(15)) * np.uint32(0x846CA68B)
    x = x ^ x >> np.uint32(16)
    return (x >> np.uint32(8)) / 2.0**23 - 1.0


def tensor(name, shape, bound):
    v = (values(name, math.prod(shape)) * bound).astype(np.float32)
    return torch.from_numpy(v.astype(np.float64)).reshape(shape)


def weight(name, shape):
    """Uniform with the variance that keeps that of the maps: 2/fan-in where relu follows, 1/fan-in where not."""
    gain = 3.0 if "project" in name else 6.0
    bound = 0.1 if name.endswith("bias") else math.sqrt(gain / math.prod(shape[1:]))
    return tensor(name, shape, bound)


def image(h, w):
    return tensor(f"image {h} {w}", (1, 3, h, w), 1.0)


def alexnet():
    model = torchvision.models.alexnet(weights=None).features.double().eval()
    state = {f"features.{k}": weight(f"features.{k}", tuple(v.shape)) for k, v in model.state_dict().items()}
    assert sum(v.numel() for v in state.values()) == 2_469_696
    model.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    taps = {1: "conv1", 2: "pool1", 4: "conv2", 5: "pool2", 7: "conv3", 9: "conv4", 11: "conv5", 12: "pool5"}
    assert list(map(str, range(len(model)))) == [n for n, _ in model.named_children()]

    def forward(x):
        maps = {}
        for i, layer in enumerate(model):
            x = layer(x)
            if i in taps:
                maps[taps[i]] = x.clone()  # relu works in place
        return maps

    return forward


def same(x, k, stride):
    """TensorFlow's SAME padding."""
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def mobilenet_v2():
    def conv(x, name, cin, cout, k=1, stride=1, groups=1):
        w = weight(f"{name}.weight", (cout, cin // groups, k, k))
        return F.conv2d(same(x, k, stride), w, weight(f"{name}.bias", (cout,)), stride, groups=groups)

    def forward(x):
        maps, cin, at = {}, 32, 1
        x = F.relu6(conv(x, "features.0.conv", 3, 32, 3, 2))
        groups = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        for t, cout, n, s in groups:
            for i in range(n):
                stride, name, wide, y = s if i == 0 else 1, f"features.{at}", cin * t, x
                if t > 1:
                    y = F.relu6(conv(y, f"{name}.expand", cin, wide))
                y = F.relu6(conv(y, f"{name}.dw", wide, wide, 3, stride, wide))
                y = conv(y, f"{name}.project", wide, cout)
                x = x + y if stride == 1 and cin == cout else y
                maps[name] = x
                cin, at = cout, at + 1
        return maps

    return forward


lines = []


def write(network, quantity, arguments, tensor, count):
    flat = tensor.detach().numpy().ravel()
    every = max(1, len(flat) // count)
    if every > 1:
        every += 1 - every % 2  # odd, so that columns of even maps change from one to the next
    numbers = " ".join(f"{v:.7g}" for v in flat[::every])
    shape = "x".join(map(str, tensor.shape[1:]))
    lines.append(f"{network} {quantity} {arguments} {shape} {every} | {numbers}")


def cases(network, forward, sizes, pooled_taps, pooled):
    for h, w in sizes:
        for tap, map in forward(image(h, w)).items():
            write(network, tap, f"{h} {w}", map, 60)
    for h, w, scales in pooled:
        x = image(h, w).requires_grad_()
        means = []
        for s in range(scales):
            maps = forward(F.interpolate(x, size=(h >> s, w >> s), mode="nearest"))
            means += [maps[tap].mean((2, 3)) for tap in pooled_taps]
        y = torch.cat(means, 1)
        write(network, "pooled", f"{h} {w} {scales}", y, 1000)
        # The gradient of half the sum of squares.
        (0.5 * (y * y).sum()).backward()
        write(network, "gradient", f"{h} {w} {scales}", x.grad, 300)


mean, std = (getattr(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms(), n) for n in ("mean", "std"))
write("alexnet", "mean", "0 0", torch.tensor([mean]), 3)
write("alexnet", "std", "0 0", torch.tensor([std]), 3)
cases("alexnet", alexnet(), [(63, 63), (100, 131)], ["pool5"], [(128, 128, 2), (127, 139, 2)])
cases("mobilenet_v2", mobilenet_v2(), [(75, 96), (32, 33), (1, 2)], ["features.13", "features.16"], [(64, 64, 3), (45, 37, 3)])
(pathlib.Path(__file__).parent / "backbones.txt").write_text("\n".join(lines) + "\n")
