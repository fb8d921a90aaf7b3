// gx = (g[c, 0] + 2 g[c, 1] (x - mean[c])) / count.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; float count;)
INPUT(0, g)
INPUT(1, x)
INPUT(2, stats)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    put(i, (x(i) - stats(2 * c)) * (2.0 * g(2 * c + 1) / count) + g(2 * c) / count);
}
