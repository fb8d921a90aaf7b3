// y = a b.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len;)
INPUT(0, a)
INPUT(1, b)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, a(i) * b(i));
}
