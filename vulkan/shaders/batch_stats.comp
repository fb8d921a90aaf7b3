// Mean and variance of a channel over samples and positions, the mean first: one channel a workgroup.
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
    uint count = batch * positions;
    float total = 0.0;
    for (uint k = lane(); k < count; k += WIDTH) total += x((k / positions * channels + c) * positions + k % positions);
    float mean = sum(total) / float(count);
    float squares = 0.0;
    for (uint k = lane(); k < count; k += WIDTH) {
        float d = x((k / positions * channels + c) * positions + k % positions) - mean;
        squares += d * d;
    }
    squares = sum(squares);
    if (lane() == 0) {
        put(2 * c, mean);
        put(2 * c + 1, squares / float(count));
    }
}
