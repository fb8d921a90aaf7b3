// y = scale[c] x + shift[c].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions;)
INPUT(0, x)
INPUT(1, scale)
INPUT(2, offset)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    put(i, x(i) * scale(c) + offset(c));
}
