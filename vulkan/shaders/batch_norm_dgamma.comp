// ggamma[c] = sum of gy (x - mean[c]) over samples and positions / sqrt(variance[c] + eps): one channel a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions; float eps;)
INPUT(0, gy)
INPUT(1, x)
INPUT(2, stats)
OUTPUT

void main() {
    uint c = group();
    if (c >= channels) return;
    float total = 0.0;
    for (uint k = lane(); k < batch * positions; k += WIDTH) {
        uint i = (k / positions * channels + c) * positions + k % positions;
        total += gy(i) * (x(i) - stats(2 * c));
    }
    total = sum(total);
    if (lane() == 0) put(c, total / sqrt(stats(2 * c + 1) + eps));
}
