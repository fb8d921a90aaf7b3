// Weighed likelihoods of cells, those of negative weight as far as a limit: one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint cells; float margin;)
INPUT(0, n)
INPUT(1, w)
INPUT(2, b)
OUTPUT

void main() {
    uint at = group();
    if (at >= batch) return;
    float limit = b(0) + margin, total = 0.0;
    for (uint k = lane(); k < cells; k += WIDTH) {
        uint i = at * cells + k;
        if (w(i) > 0.0) total += w(i) * n(i);
        else if (w(i) < 0.0 && !(n(i) >= limit)) total -= w(i) * (limit - n(i));
    }
    total = sum(total);
    if (lane() == 0) put(at, total);
}
