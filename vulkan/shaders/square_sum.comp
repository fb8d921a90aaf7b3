// Scaled sum of squares or its root: one sample a workgroup, or one position an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions; float scale; uint per_position; uint root;)
INPUT(0, x)
OUTPUT

float finish(float total) { return root != 0 ? sqrt(scale * total) : scale * total; }

void main() {
    float total = 0.0;
    if (per_position != 0) {
        uint i = element();
        if (i >= batch * positions) return;
        uint base = i / positions * channels * positions + i % positions;
        for (uint c = 0; c < channels; c++) total += x(base + c * positions) * x(base + c * positions);
        put(i, finish(total));
        return;
    }
    uint n = group(), len = channels * positions;
    if (n >= batch) return;
    for (uint k = lane(); k < len; k += WIDTH) total += x(n * len + k) * x(n * len + k);
    total = sum(total);
    if (lane() == 0) put(n, finish(total));
}
