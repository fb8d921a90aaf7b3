"""Runs ONNX graphs in the runtimes that users have, for the tests of `adflow export` and of imported backbones.

    onnx_run.py --check             exits with 0 if ONNX, ONNX Runtime and OpenVINO are here
    onnx_run.py JOBS                JOBS is a file with one job a line: GRAPH IMAGE TYPE OUT
    onnx_run.py --make FOLDER       writes small convolutional networks that `--backbone` reads

IMAGE holds the samples of the graph's first input, TYPE is u8, u16 or f32. Each output goes to OUT.RUNTIME.NAME as floats.
"""

import os
import sys


def run(jobs):
    import numpy as np
    import onnx
    import onnxruntime as ort
    import openvino as ov

    kinds = {"u8": np.uint8, "u16": np.uint16, "f32": np.float32}
    core = ov.Core()
    for line in open(jobs):
        graph, image, kind, out = line.rstrip("\n").split("\t")
        model = onnx.load(graph)
        onnx.checker.check_model(model, full_check=True)
        entry = model.graph.input[0]
        dims = [d.dim_value for d in entry.type.tensor_type.shape.dim]
        samples = np.fromfile(image, dtype=kinds[kind]).reshape(dims)

        session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        given = dict(zip(names, session.run(names, {entry.name: samples})))
        save(out, "onnxruntime", given)

        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        result = compiled([samples])
        save(out, "openvino", {name: result[compiled.output(name)] for name in names})


def save(out, runtime, outputs):
    import numpy as np

    for name, values in outputs.items():
        np.asarray(values, dtype=np.float32).tofile(f"{out}.{runtime}.{name.replace('/', '_')}")


def check():
    try:
        import numpy, onnx, onnxruntime, openvino  # noqa: F401, E401
    except ImportError as missing:
        print(missing)
        return 1
    return 0


def make(folder):
    """Two small networks with random weights: `tiny.onnx` has each op that is read, `hostile.onnx` one that is not."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(5)
    weights, nodes = [], []

    def weight(name, *dims, low=None):
        values = rng.normal(0, 0.4, dims) if low is None else rng.uniform(low, 1.5, dims)
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=f"{op}_{output}", **attributes))
        return output

    def conv(x, output, to, of, k, bias=False, **attributes):
        inputs = [x, weight(f"{output}.w", to, of, k, k)] + ([weight(f"{output}.b", to)] if bias else [])
        return node("Conv", inputs, output, kernel_shape=[k, k], **attributes)

    def norm(x, output, c):
        names = [weight(f"{output}.{n}", c, low=0.5 if n == "var" else None) for n in ("gamma", "beta", "mean", "var")]
        return node("BatchNormalization", [x] + names, output, epsilon=1e-3)

    # Convolution, normalisation and relu, folded into one; asymmetric pads as TensorFlow has them.
    x = conv("input", "c1", 8, 3, 3, strides=[2, 2], pads=[0, 0, 1, 1])
    x = node("Relu", [norm(x, "n1", 8)], "stem")
    x = node("MaxPool", [x], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    # An inverted residual: depthwise in the middle, relu6, a sum.
    y = norm(conv(x, "c2", 16, 8, 1), "n2", 16)
    weights.append(numpy_helper.from_array(np.array(0.0, np.float32), "zero"))
    weights.append(numpy_helper.from_array(np.array(6.0, np.float32), "six"))
    y = node("Clip", [y, "zero", "six"], "r2")
    y = conv(y, "c3", 16, 1, 3, bias=True, group=16, pads=[2, 2, 2, 2], dilations=[2, 2])
    y = conv(y, "c4", 8, 16, 1, bias=True)
    x = node("Add", [x, y], "fine")
    # Normalisation that stands alone, a gate, branches that are joined.
    z = norm(x, "n5", 8)
    gate = node("GlobalAveragePool", [z], "gap")
    # Weights with a second name, as PyTorch's exporter writes equal ones.
    bias = node("Identity", ["c4.b"], "c6.b")
    gate = node("Sigmoid", [node("Conv", [gate, weight("c6.w", 8, 8, 1, 1), bias], "c6", kernel_shape=[1, 1])], "gate")
    z = node("Mul", [z, gate], "gated")
    a = conv(z, "c7", 12, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    b = node("AveragePool", [node("Identity", [z], "same")], "mean", kernel_shape=[2, 2], strides=[2, 2])
    x = node("Concat", [node("Relu", [a], "r7"), b], "coarse", axis=1)
    # Behind the taps anything may be.
    node("Softmax", [node("Flatten", [x], "flat")], "classes", axis=1)

    def save(name, nodes):
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
            [
                helper.make_tensor_value_info("fine", TensorProto.FLOAT, [1, 8, 16, 16]),
                helper.make_tensor_value_info("coarse", TensorProto.FLOAT, [1, 20, 8, 8]),
            ],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, os.path.join(folder, name))

    save("tiny.onnx", nodes)
    other = [helper.make_node("LeakyRelu", n.input, n.output, name="odd") if n.output[0] == "stem" else n for n in nodes]
    save("hostile.onnx", other)


if __name__ == "__main__":
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    if sys.argv[1] == "--check":
        sys.exit(check())
    if sys.argv[1] == "--make":
        sys.exit(make(sys.argv[2]))
    run(sys.argv[1])
