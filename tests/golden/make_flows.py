#!/usr/bin/env python3
"""Golden values of the flows: golden/flows.txt. Needs torch and FrEIA; float64 throughout.

The dense flow is written recursively, as its definition reads; DifferNet's blocks are FrEIA's GLOWCouplingBlock,
FastFlow's its AllInOneBlock. Weights
and features are drawn from a counter that the Rust test repeats, so only results are stored: the latent, the
log-determinant, the loss, and for each parameter a digest (norm and one random projection) of its gradient and of its
change after three steps of Adam.
"""

import math
import os

import torch
from FrEIA.modules import AllInOneBlock, GLOWCouplingBlock

torch.set_default_dtype(torch.float64)
MASK = (1 << 64) - 1
BATCH, STEPS = 5, 3


def draw(seed, count):
    """Numbers in -1..1, multiples of 2^-23: exact in float32. Mixing as in splitmix64."""
    out = []
    for i in range(count):
        x = ((i + 1) * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
        out.append((x >> 40) / (1 << 23) - 1.0)
    return torch.tensor(out)


def permutation(seed, n):
    """The order that sorts the numbers drawn."""
    return torch.argsort(draw(seed, n), stable=True)


class Store:
    """Parameters by name, in the order they are asked for; each one's seed is its position + 1."""

    def __init__(self):
        self.names, self.tensors = [], {}

    def get(self, name, shape, fan_in):
        if name not in self.tensors:
            seed = len(self.names) + 1
            # A power of two near 1/sqrt(fan_in): products with it stay exact.
            bound = 2.0 ** -round(math.log2(fan_in) / 2)
            value = (draw(seed, math.prod(shape)) * bound).reshape(shape)
            self.tensors[name] = torch.nn.Parameter(value)
            self.names.append((name, seed, bound))
        return self.tensors[name]


def sigma(s, clamp):
    return 2 * clamp / math.pi * torch.atan(s / clamp)


class Dense:
    """R(h, d) of the method: halves first, then one coupling. S and T of a node are groups 2n and 2n + 1."""

    def __init__(self, dims, blocks, width, clamp):
        self.dims, self.blocks, self.width, self.clamp, self.store = dims, blocks, width, clamp, Store()
        for block in range(blocks):
            for level in range(len(self.levels())):
                self.weights(block, level)

    def levels(self):
        sizes, size = [], self.dims
        while True:
            sizes.append(size)
            if size < 4:
                return sizes
            size //= 2

    def weights(self, block, level):
        d = self.dims >> level
        g, a, h = 2 << level, d // 2, max(self.width >> level, 8)
        name = f"block{block}.level{level}.run0"
        shapes = [(h, a), (h, h), (d - a, h)]
        return [
            (self.store.get(f"{name}.{i + 1}.w", (g, o, f), f), self.store.get(f"{name}.{i + 1}.b", (g, o), f))
            for i, (o, f) in enumerate(shapes)
        ]

    def subnet(self, block, level, group, u):
        layers = self.weights(block, level)
        for i, (w, b) in enumerate(layers):
            u = u @ w[group].T + b[group]
            u = torch.relu(u) if i < 2 else u
        return u

    def node(self, block, level, n, h):
        d = h.shape[1]
        u, w = h[:, : d // 2], h[:, d // 2 :]
        j = 0
        if d >= 4:
            u, ju = self.node(block, level + 1, 2 * n, u)
            w, jw = self.node(block, level + 1, 2 * n + 1, w)
            j = ju + jw
        s = sigma(self.subnet(block, level, 2 * n, u), self.clamp)
        w = w * torch.exp(s) + self.subnet(block, level, 2 * n + 1, u)
        return torch.cat([u, w], 1), j + s.sum(1)

    def forward(self, x):
        j = 0
        for block in range(self.blocks):
            x = x[:, permutation(900 + block, self.dims)]
            x, jb = self.node(block, 0, 0, x)
            j = j + jb
        return x, j


class DifferNet:
    """FrEIA's coupling block behind a permutation."""

    def __init__(self, dims, blocks, width, clamp):
        self.dims, self.blocks, self.store, self.modules = dims, blocks, Store(), []
        half = dims // 2
        for block in range(blocks):
            glow = GLOWCouplingBlock(
                [(dims,)],
                clamp=clamp,
                clamp_activation=lambda u: 2 / math.pi * torch.atan(u / clamp),
                subnet_constructor=lambda i, o: torch.nn.Sequential(
                    torch.nn.Linear(i, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(),
                    torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, o)),
            )
            for number, subnet in [(2, glow.subnet2), (1, glow.subnet1)]:
                for layer, module in enumerate(subnet[::2]):
                    name = f"block{block}.subnet{number}.{layer + 1}"
                    out, features = module.weight.shape
                    module.weight = self.store.get(f"{name}.w", (out, features), features)
                    module.bias = self.store.get(f"{name}.b", (out,), features)
            self.modules.append(glow)

    def forward(self, x):
        j = 0
        for block, glow in enumerate(self.modules):
            x = x[:, permutation(900 + block, self.dims)]
            (x,), jb = glow([x])
            j = j + jb
        return x, j


class FastFlow:
    """FrEIA's all-in-one block with subnets of two convolutions, kernels 3 and 1 in turn."""

    def __init__(self, shape, steps, ratio, clamp):
        self.shape, self.store, self.modules = shape, Store(), []
        channels = shape[0]
        for step in range(steps):
            k = 1 if step % 2 else 3
            block = AllInOneBlock(
                [shape],
                affine_clamping=clamp,
                global_affine_init=1.0,
                global_affine_type="SOFTPLUS",
                permute_soft=False,
                subnet_constructor=lambda i, o, k=k: torch.nn.Sequential(
                    torch.nn.Conv2d(i, int(i * ratio), k, padding=k // 2), torch.nn.ReLU(),
                    torch.nn.Conv2d(int(i * ratio), o, k, padding=k // 2)),
            )
            for layer in (1, 2):
                module, name = block.subnet[2 * layer - 2], f"map.step{step}.{layer}"
                fan_in = math.prod(module.weight.shape[1:])
                module.weight = self.store.get(f"{name}.w", tuple(module.weight.shape), fan_in)
                module.bias = self.store.get(f"{name}.b", tuple(module.bias.shape), fan_in)
            # Numbers in -8..8.
            block.global_scale = self.store.get(f"map.step{step}.scale", (1, channels, 1, 1), 1 / 64)
            block.global_offset = self.store.get(f"map.step{step}.shift", (1, channels, 1, 1), 1)
            # Channel c of the output is channel order[c] of the input.
            order = torch.eye(channels)[permutation(900 + step, channels)].reshape(channels, channels, 1, 1)
            block.w_perm = torch.nn.Parameter(order, requires_grad=False)
            self.modules.append(block)

    def forward(self, x):
        x, j = x.reshape(-1, *self.shape), 0
        for block in self.modules:
            (x,), jb = block([x])
            j = j + jb
        return x.flatten(1), j


def text(values):
    return " ".join(f"{v:.9e}" for v in values.flatten().tolist())


def digest(values, seed):
    values = values.flatten()
    return text(torch.stack([values.norm(), values @ draw(5000 + seed, values.numel())]))


def lines(name, flow, dims):
    yield f"flow {name}"
    x = (draw(7777, BATCH * dims) * 2).reshape(BATCH, dims).requires_grad_()
    tensors = list(flow.store.tensors.values())
    before = [t.detach().clone() for t in tensors]
    adam = torch.optim.Adam(tensors, lr=2e-4, betas=(0.8, 0.8), eps=1e-4, weight_decay=1e-5)
    losses, grads = [], None
    for step in range(STEPS):
        z, j = flow.forward(x)
        loss = ((0.5 * (z**2).sum(1) - j) / dims).mean()
        adam.zero_grad()
        x.grad = None
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            yield f"z {text(z)}"
            yield f"log_det {text(j)}"
            yield f"gx {text(x.grad)}"
            grads = [t.grad.clone() for t in tensors]
        adam.step()
    yield f"losses {text(torch.stack(losses))}"
    for (name, seed, bound), grad, old, new in zip(flow.store.names, grads, before, tensors):
        yield f"param {name} {seed} {bound!r} {digest(grad, seed)} {digest(new.detach() - old, seed)}"


def main():
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flows.txt")
    flows = [("dense", Dense(24, 2, 16, 2.0), 24), ("differnet", DifferNet(16, 2, 24, 3.0), 16),
             ("fastflow", FastFlow((5, 4, 3), 2, 1.5, 2.0), 60)]
    with open(out, "w") as f:
        for name, flow, dims in flows:
            f.writelines(line + "\n" for line in lines(name, flow, dims))


main()
