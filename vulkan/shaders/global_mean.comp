// Mean over positions: one plane a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint planes; uint positions;)
INPUT(0, x)
OUTPUT

void main() {
    uint plane = group();
    if (plane >= planes) return;
    float total = 0.0;
    for (uint p = lane(); p < positions; p += WIDTH) total += x(plane * positions + p);
    total = sum(total);
    if (lane() == 0) put(plane, total / float(positions));
}
