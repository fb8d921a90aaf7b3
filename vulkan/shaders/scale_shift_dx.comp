// gx = scale[c] gy.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions;)
INPUT(0, gy)
INPUT(1, scale)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, gy(i) * scale(i / positions % channels));
}
