// y = factor x.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; float factor;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, factor * x(i));
}
