// Mixtures of pairs of samples.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint batch; uint width;)
INPUT(0, x)
INPUT(1, pair)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint n = i / width;
    // Numbers outside of the batch, and none at all, as on the CPU.
    float other = pair(2 * n), share = pair(2 * n + 1);
    uint k = other > 0.0 ? (other < float(batch) ? uint(other) : batch - 1) : 0;
    put(i, share * x(i) + (1.0 - share) * x(k * width + i % width));
}
