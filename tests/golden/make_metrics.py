"""Writes metrics.txt: what scikit-learn, and slow code written from the definitions, say of synthetic scores and maps.

Run with numpy, scipy, torch and scikit-learn installed:  python make_metrics.py
Lines are `image | scores | labels | auroc ap f1 threshold` and
`pixels w h mw mh images limit | auroc ap f1 threshold aupro regions`; the maps and masks of the latter are computed from
`draw` below, which the test computes as well.
"""
import pathlib

import numpy as np
import scipy.ndimage as ndi
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

lines = []


def f1_max(labels, scores):
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    p, r = precision[:-1], recall[:-1]
    f1 = np.where(p + r > 0, 2 * p * r / np.where(p + r > 0, p + r, 1), 0)
    best = np.nonzero(f1 >= f1.max() - 1e-12)[0]
    return f1.max(), thresholds[best].min()


def join(values):
    return " ".join(f"{float(v):.17g}" for v in values)


generator = np.random.default_rng(1)
for n, levels in [(2, 5), (7, 3), (30, 10), (200, 7), (200, 10**6), (583, 50)]:
    labels = np.zeros(n, int)
    while labels.min() == labels.max():
        labels = generator.integers(0, 2, n)
    scores = (generator.integers(0, levels, n) + labels * levels // 4).astype(np.float32) / np.float32(8) - 2
    f1, threshold = f1_max(labels, scores)
    metrics = [roc_auc_score(labels, scores), average_precision_score(labels, scores), f1, threshold]
    lines.append(f"image | {join(scores)} | {' '.join(map(str, labels))} | {join(metrics)}")


def draw(width, height, image):
    """A map in whole numbers and a mask of a blob, a scratch and a speck, in different places in each image."""
    y, x = np.mgrid[0:height, 0:width]
    values = (x * 13 + y * 29 + image * 17 + x * y) % 41
    return values.astype(np.float32)


def draw_mask(width, height, image):
    y, x = np.mgrid[0:height, 0:width]
    if image % 3 == 2:
        return np.zeros((height, width), np.uint8)
    blob = (x - width // 3) ** 2 + (y - height // 2 - image) ** 2 <= (2 + image) ** 2
    scratch = (x + y == width - 4 - image) & (y < height // 4)
    speck = (x == width - 2) & (y == height - 2)
    return (blob | scratch | speck).astype(np.uint8) * 255


def area_resize(mask, size):
    """Covered area of every output pixel in units in which a whole one has height·width."""
    parts = lambda n: np.repeat(np.eye(n, dtype=np.int64), size, 0).reshape(size, n, n).sum(1)
    height, width = mask.shape
    return parts(height) @ (mask > 0).astype(np.int64) @ parts(width).T, height * width


def resize_mask(mask, size):
    covered, whole = area_resize(mask, size)
    out = 2 * covered >= whole
    average = out.copy()
    labels, count = ndi.label(mask > 0, np.ones((3, 3)))
    for region in range(1, count + 1):
        own, _ = area_resize(labels == region, size)
        if not (average & (own > 0)).any():
            out.ravel()[own.argmax()] = True
    return out


def aupro(maps, masks, limit):
    regions = []
    for image, mask in enumerate(masks):
        labels, count = ndi.label(mask, np.ones((3, 3)))
        regions += [(image, labels == r) for r in range(1, count + 1)]
    # Share of a sorted list that is at or above a threshold.
    share = lambda values, threshold: 1 - np.searchsorted(values, threshold) / len(values)
    good = np.sort(maps[~masks])
    regions = [np.sort(maps[image][region]) for image, region in regions]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        rates.append(share(good, threshold))
        overlaps.append(np.mean([share(r, threshold) for r in regions]))
        if rates[-1] >= limit:
            break
    rates, overlaps = np.array(rates), np.array(overlaps)
    if rates[-1] > limit:
        overlaps[-1] = overlaps[-2] + (overlaps[-1] - overlaps[-2]) * (limit - rates[-2]) / (rates[-1] - rates[-2])
        rates[-1] = limit
    return np.trapezoid(overlaps, rates) / limit, len(regions)


def pixels(name, maps, masks, arguments, limit):
    maps, masks = np.stack(maps), np.stack(masks)
    f1, threshold = f1_max(masks.ravel(), maps.ravel())
    area, regions = aupro(maps, masks, limit)
    metrics = [roc_auc_score(masks.ravel(), maps.ravel()), average_precision_score(masks.ravel(), maps.ravel()), f1, threshold, area, regions]
    lines.append(f"{name} {' '.join(map(str, arguments))} {limit} | {join(metrics)}")


for width, height, images, limit in [(24, 20, 4, 0.3), (33, 17, 3, 0.05), (16, 16, 5, 1.0)]:
    masks = [draw_mask(width, height, i) > 0 for i in range(images)]
    maps = [draw(width, height, i) + 20 * m.astype(np.float32) for i, m in enumerate(masks)]
    pixels("pixels", maps, masks, [width, height, width, height, images], limit)

# The convention of 256×256. Sizes for which bilinear weights are exact in f32, so that equal scores stay equal.
for width, height, mask_width, mask_height, images, limit in [(8, 8, 40, 30, 3, 0.3), (16, 4, 16, 16, 2, 0.3), (8, 8, 260, 270, 2, 0.3)]:
    maps = [torch.from_numpy(draw(width, height, i))[None, None] for i in range(images)]
    maps = [F.interpolate(m, (256, 256), mode="bilinear", align_corners=False)[0, 0].numpy() for m in maps]
    masks = [resize_mask(draw_mask(mask_width, mask_height, i), 256) for i in range(images)]
    pixels("resized", maps, masks, [width, height, mask_width, mask_height, images], limit)

pathlib.Path(__file__).with_name("metrics.txt").write_text("\n".join(lines) + "\n")
