// gx = gy f'(x), one element an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "smooth.glsl"
PARAMS(uint len; uint curve;)
INPUT(0, gy)
INPUT(1, x)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    float v = x(i);
    if (curve == GELU) { put(i, gy(i) * (normal_below(v) + v * 0.39894228 * exp_(-0.5 * v * v))); return; }
    if (curve == GLOBAL_SCALE) { put(i, gy(i) * 0.1 * sigmoid_(0.5 * v)); return; }
    float up = sigmoid_(v);
    float down = sigmoid_(-v);
    put(i, gy(i) * (curve == SILU ? up * (1.0 + v * down) : up * down));
}
