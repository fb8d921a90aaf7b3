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


if __name__ == "__main__":
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    if sys.argv[1] == "--check":
        sys.exit(check())
    run(sys.argv[1])
