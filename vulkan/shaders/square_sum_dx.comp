// gx = 2 scale g x, or scale g x / y with the root.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; float scale; uint per_position; uint root;)
INPUT(0, g)
INPUT(1, x)
INPUT(2, y)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint n = i / (channels * positions);
    uint at = per_position != 0 ? n * positions + i % positions : n;
    float slope = 2.0 * scale * g(at);
    if (root != 0) slope = y(at) > 0.0 ? scale * g(at) / y(at) : 0.0;
    put(i, slope * x(i));
}
