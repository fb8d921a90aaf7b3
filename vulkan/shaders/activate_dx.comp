// gx of an activation, from its output.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint act;)
INPUT(0, gy)
INPUT(1, y)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    bool flows = act == 0 || (y(i) > 0.0 && (act == RELU || y(i) < 6.0));
    put(i, flows ? gy(i) : 0.0);
}
