// Sums of squares of parts of a vector, one part a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint len; uint parts;)
INPUT(0, x)
OUTPUT

void main() {
    uint part = group(), size = (len + parts - 1) / parts, first = part * size;
    if (part >= parts) return;
    float total = 0.0;
    for (uint k = first + lane(); k < min(first + size, len); k += WIDTH) total += x(k) * x(k);
    total = sum(total);
    if (lane() == 0) put(part, total);
}
