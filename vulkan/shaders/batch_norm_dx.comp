// gx = gy gamma[c] / sqrt(variance[c] + eps).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; float eps;)
INPUT(0, gy)
INPUT(1, stats)
INPUT(2, gamma)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    put(i, gy(i) * (gamma(c) / sqrt(stats(2 * c + 1) + eps)));
}
