// y[c] = sum of x over samples and positions: one channel a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions;)
INPUT(0, x)
OUTPUT

void main() {
    uint c = group();
    if (c >= channels) return;
    float total = 0.0;
    for (uint k = lane(); k < batch * positions; k += WIDTH) {
        total += x((k / positions * channels + c) * positions + k % positions);
    }
    total = sum(total);
    if (lane() == 0) put(c, total);
}
