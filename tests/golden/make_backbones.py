"""Writes backbones.txt: what torch makes of every backbone with weights from a formula.

Run with numpy, torch, torchvision and timm installed:  python make_backbones.py
Each line is `network quantity arguments shape every | numbers`: the whole tensor has `shape`, the numbers are each
`every`-th of its values. Weights and images are the formula of `values` below, which the test computes as well, so no file
of weights is needed. torch runs in f64. Networks are torchvision's own, but MobileNetV2 is written out here with
TensorFlow's padding and without batch normalisation, tf_efficientnet_b5 is torchvision's efficientnet_b5 with
TensorFlow's padding and timm's names, and the EfficientNet-Lites are timm's.
"""
import itertools
import math
import pathlib
import re

import numpy as np
import timm
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


def affine(name, shape, middle, bound):
    v = (middle + bound * values(name, math.prod(shape))).astype(np.float32)
    return torch.from_numpy(v.astype(np.float64)).reshape(shape)


def weight(name, shape):
    """Uniform with the variance that keeps that of the maps: 2/fan-in where relu follows, 1/fan-in where not."""
    if name.endswith("running_var"):
        return affine(name, shape, 1.0, 0.5)
    if name.endswith("weight") and len(shape) == 1:
        return affine(name, shape, 1.0, 0.2)
    gain = 3.0 if "project" in name or "conv_pwl" in name else 6.0
    bound = 0.1 if len(shape) == 1 else math.sqrt(gain / math.prod(shape[1:]))
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


def fill(model, rename=lambda name: name):
    """Every tensor from the formula of its name, batch normalisation with its statistics."""
    state = model.state_dict()
    new = {k: v if k.endswith("num_batches_tracked") else weight(rename(k), tuple(v.shape)) for k, v in state.items()}
    model.load_state_dict(new)
    return model.double().eval()


def resnet(make, count):
    model = make(weights=None)
    del model.layer4, model.fc
    assert sum(p.numel() for p in model.parameters()) == count
    fill(model)

    def forward(x):
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        maps = {}
        for name in ["layer1", "layer2", "layer3"]:
            x = maps[name] = getattr(model, name)(x)
        return maps

    return forward


def timm_name(name):
    """timm's name of a tensor of torchvision's EfficientNet."""
    if m := re.fullmatch(r"features\.0\.([01])\.(.+)", name):
        return ["conv_stem", "bn1"][int(m[1])] + "." + m[2]
    m = re.fullmatch(r"features\.(\d)\.(\d)\.block\.(\d)\.(.+)", name)
    stage, block, part, rest = int(m[1]) - 1, m[2], int(m[3]), m[4]
    if rest.startswith("fc"):
        part = "se"
        rest = rest.replace("fc1", "conv_reduce").replace("fc2", "conv_expand")
    else:
        parts = ["conv_dw bn1", None, "conv_pw bn2"] if stage == 0 else ["conv_pw bn1", "conv_dw bn2", None, "conv_pwl bn3"]
        part, rest = parts[part].split()[int(rest[0])], rest[2:]
    return f"blocks.{stage}.{block}.{part}.{rest}"


def efficientnet_b5(tensorflow):
    model = torchvision.models.efficientnet_b5(weights=None).features[:7]
    assert sum(p.numel() for p in model.parameters()) == 17_543_204
    renamed = torch.nn.Module()
    renamed.features = model
    fill(renamed, timm_name if tensorflow else lambda name: name)
    if tensorflow:
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size[0] > 1:
                layer.padding = (0, 0)
                layer.register_forward_pre_hook(lambda l, x: same(x[0], l.kernel_size[0], l.stride[0]))

    def forward(x):
        maps = {}
        for i, stage in enumerate(model):
            x = stage(x)
            if i > 0:
                maps[f"features.{i}"] = x
        return maps

    return forward


def efficientnet_lite(model, count):
    del model.conv_head, model.bn2, model.classifier
    assert sum(p.numel() for p in model.parameters()) == count
    fill(model)

    def forward(x):
        x = model.bn1(model.conv_stem(x))  # timm's normalisation has the activation in it
        maps = {}
        for i, stage in enumerate(model.blocks):
            x = maps[f"blocks.{i}"] = stage(x)
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


def transforms(network, weights):
    transform = weights.transforms()
    normalisation(network, transform.mean, transform.std)


def normalisation(network, mean, std):
    for name, values in [("mean", mean), ("std", std)]:
        write(network, name, "0 0", torch.tensor([values]), 3)


def statistics(map):
    """Means and deviations over positions, the latter with a floor of 0.001."""
    return [map.mean((2, 3)), (map.var((2, 3), unbiased=False) + 1e-6).sqrt()]


def cases(network, forward, sizes, pooled_taps, pooled, count=60):
    for h, w in sizes:
        for tap, map in forward(image(h, w)).items():
            write(network, tap, f"{h} {w}", map, count)
    kinds = [("pooled", lambda map: [map.mean((2, 3))]), ("statistics", statistics)]
    for (h, w, scales), (kind, pool) in itertools.product(pooled, kinds):
        x = image(h, w).requires_grad_()
        parts = []
        scaled = [forward(F.interpolate(x, size=(h >> s, w >> s), mode="nearest")) for s in range(scales)]
        if kind == "statistics" and any(maps[tap][0, 0].numel() == 1 for maps in scaled for tap in pooled_taps):
            continue  # no deviation
        for maps in scaled:
            parts += [part for tap in pooled_taps for part in pool(maps[tap])]
        y = torch.cat(parts, 1)
        write(network, kind, f"{h} {w} {scales}", y, 1000)
        # The gradient of half the sum of squares.
        (0.5 * (y * y).sum()).backward()
        write(network, "gradient", f"{h} {w} {scales}", x.grad, 300)


models = torchvision.models
transforms("alexnet", models.AlexNet_Weights.IMAGENET1K_V1)
cases("alexnet", alexnet(), [(63, 63), (100, 131)], ["pool5"], [(128, 128, 2), (127, 139, 2)])
cases("mobilenet_v2", mobilenet_v2(), [(75, 96), (32, 33), (1, 2)], ["features.13", "features.16"], [(64, 64, 3), (45, 37, 3)])
transforms("resnet18", models.ResNet18_Weights.IMAGENET1K_V1)
cases("resnet18", resnet(models.resnet18, 2_782_784), [(75, 96), (33, 32)], ["layer3"], [(64, 64, 2), (45, 37, 1)])
transforms("wide_resnet50_2", models.Wide_ResNet50_2_Weights.IMAGENET1K_V1)
wide = resnet(models.wide_resnet50_2, 24_862_528)
cases("wide_resnet50_2", wide, [(75, 96), (33, 32)], ["layer3"], [(45, 37, 1)])
for name, sizes in [("efficientnet_b5", [(75, 96), (33, 32)]), ("tf_efficientnet_b5", [(70, 97), (32, 33)])]:
    transforms(name, models.EfficientNet_B5_Weights.IMAGENET1K_V1)
    cases(name, efficientnet_b5(name[0] == "t"), sizes, ["features.6"], [(64, 45, 1)], 40)
for name, count in [("efficientnet_lite0", 2_958_848), ("efficientnet_lite2", 4_357_952)]:
    model = timm.create_model(f"tf_{name}")
    normalisation(name, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
    cases(name, efficientnet_lite(model, count), [(70, 97), (33, 32)], ["blocks.4", "blocks.5"], [(64, 45, 1)], 40)
(pathlib.Path(__file__).parent / "backbones.txt").write_text("\n".join(lines) + "\n")
