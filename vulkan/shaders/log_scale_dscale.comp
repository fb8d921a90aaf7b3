// gscale[c] = factor times the sum of g, over scale[c]: one channel a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint channels; uint terms; float factor;)
INPUT(0, g)
INPUT(1, scale)
OUTPUT

void main() {
    uint c = group();
    if (c >= channels) return;
    float total = 0.0;
    for (uint k = lane(); k < terms; k += WIDTH) total += g(k);
    total = sum(total);
    if (lane() == 0) put(c, factor * total / scale(c));
}
