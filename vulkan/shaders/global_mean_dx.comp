// gx = gy / positions.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint positions;)
INPUT(0, gy)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, gy(i / positions) / float(positions));
}
