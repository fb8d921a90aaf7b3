// A range of channels.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint total; uint first; uint count;)
INPUT(0, x)
OUTPUT

// Lengths are those of one sample: `count` values from `first` of `total`.
void main() {
    uint i = element();
    if (i < len) put(i, x(i / count * total + first + i % count));
}
