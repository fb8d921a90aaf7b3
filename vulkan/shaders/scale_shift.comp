// y = scale[c] x + shift[c], or back.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; uint inverse_;)
INPUT(0, x)
INPUT(1, scale)
INPUT(2, offset)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    put(i, inverse_ != 0 ? (x(i) - offset(c)) / scale(c) : x(i) * scale(c) + offset(c));
}
