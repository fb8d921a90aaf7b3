// Gradient of mixtures: what a sample gives to its own and to those of others.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint batch; uint width;)
INPUT(0, g)
INPUT(1, pair)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint m = i / width;
    float total = pair(2 * m + 1) * g(i);
    for (uint n = 0; n < batch; n++) {
        float other = pair(2 * n);
        uint k = other > 0.0 ? (other < float(batch) ? uint(other) : batch - 1) : 0;
        if (k == m) total += (1.0 - pair(2 * n + 1)) * g(n * width + i % width);
    }
    put(i, total);
}
