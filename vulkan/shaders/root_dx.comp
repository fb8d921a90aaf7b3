// gx = gy / 2y where x is positive, else 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len;)
INPUT(0, gy)
INPUT(1, x)
INPUT(2, y)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, x(i) > 0.0 ? gy(i) / (2.0 * y(i)) : 0.0);
}
