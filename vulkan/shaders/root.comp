// y = sqrt(max(x, 0) + 1e-6).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, sqrt((x(i) < 0.0 ? 0.0 : x(i)) + 1e-6));
}
