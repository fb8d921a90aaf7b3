"""Writes image.txt: what Pillow, torchvision, SciPy and torch make of a small synthetic image.

Run with Pillow, numpy, scipy, torch and torchvision installed:  python make_image.py
Each line is `operation  arguments | numbers`. The input of every case is the formula of `pixel` below, which the test
computes as well.
"""
import pathlib

import numpy as np
import scipy.ndimage as ndi
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate


def pixel(width, height, channel=0):
    y, x = np.mgrid[0:height, 0:width]
    return ((x * 37 + y * 91 + channel * 53 + x * y * 7 + x * x * 3) % 256).astype(np.uint8)


lines = []


def write(operation, arguments, values, digits=9):
    numbers = " ".join(f"{v:.{digits}g}" for v in np.asarray(values, np.float64).ravel())
    lines.append(f"{operation} {' '.join(map(str, arguments))} | {numbers}")


for width, height, size in [(13, 9, 5), (9, 13, 4), (7, 5, 16), (40, 17, 8), (6, 6, 6), (1, 1, 3), (3, 50, 2), (50, 1, 7)]:
    image = Image.fromarray(pixel(width, height))
    write("resize_float", [width, height, size], np.asarray(image.convert("F").resize((size, size), Image.BILINEAR)))
    rgb = Image.fromarray(np.stack([pixel(width, height, c) for c in range(3)], -1))
    write("resize_rgb8", [width, height, size], np.asarray(rgb.resize((size, size), Image.BILINEAR)).transpose(2, 0, 1))

for width, height, angle in [(16, 16, 7.5), (17, 17, -33), (16, 16, 90), (15, 15, 180), (12, 19, 100.5), (31, 8, 211)]:
    tensor = torch.from_numpy(pixel(width, height).astype(np.float32))[None]
    write("rotate_nearest", [width, height, angle], rotate(tensor, angle, InterpolationMode.NEAREST, fill=[-7.0]))

for width, height, angle in [(24, 24, 30), (9, 30, -77.5), (5, 5, 90), (20, 17, 180), (2, 2, 45), (3, 18, 5), (1, 6, 180), (40, 40, 7.5)]:
    image = pixel(width, height).astype(np.float64)
    write("rotate_cubic", [width, height, angle], ndi.rotate(image, angle, order=3, reshape=False))

for width, height, sigma in [(20, 14, 3.0), (33, 40, 4.0), (5, 3, 2.0), (1, 7, 1.0), (8, 8, 0.3), (8, 8, 0.1)]:
    image = pixel(width, height).astype(np.float64)
    write("gaussian_blur", [width, height, sigma], ndi.gaussian_filter(image, sigma))

for width, height, w, h in [(7, 5, 14, 15), (16, 9, 5, 4), (1, 3, 4, 4), (6, 6, 6, 6)]:
    tensor = torch.from_numpy(pixel(width, height).astype(np.float32))[None, None]
    write("resize_map", [width, height, w, h], F.interpolate(tensor, (h, w), mode="bilinear", align_corners=False))

pathlib.Path(__file__).with_name("image.txt").write_text("\n".join(lines) + "\n")
