// y = j + factor times the sum of ln scale[c], which each workgroup computes.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "sum.glsl"
PARAMS(uint len; uint channels; float factor;)
INPUT(0, j)
INPUT(1, scale)
OUTPUT

void main() {
    float total = 0.0;
    for (uint c = lane(); c < channels; c += WIDTH) total += log_(scale(c));
    total = sum(total);
    uint i = element();
    if (i < len) put(i, j(i) + factor * total);
}
