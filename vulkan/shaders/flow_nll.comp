// (|z|^2 / 2 - j) / D: one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint dims;)
INPUT(0, z)
INPUT(1, j)
OUTPUT

void main() {
    uint n = group();
    if (n >= batch) return;
    float total = 0.0;
    for (uint k = lane(); k < dims; k += WIDTH) total += z(n * dims + k) * z(n * dims + k);
    total = sum(total);
    if (lane() == 0) put(n, (0.5 * total - j(n)) / float(dims));
}
