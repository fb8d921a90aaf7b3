// One block for every sample.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint block;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    put(i, x(i % block));
}
