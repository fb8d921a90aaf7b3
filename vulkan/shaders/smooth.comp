// y = f(x), one element an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "smooth.glsl"
PARAMS(uint len; uint curve;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    float v = x(i);
    if (curve == GELU) { put(i, v * normal_below(v)); return; }
    if (curve == GLOBAL_SCALE) { put(i, 0.2 * softplus(0.5 * v)); return; }
    float up = sigmoid_(v);
    put(i, curve == SILU ? v * up : up);
}
