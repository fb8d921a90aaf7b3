// y = (x - mean) / sqrt(variance + eps): one sample a workgroup, or one position an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions; float eps; uint per_position;)
INPUT(0, x)
OUTPUT

void main() {
    // Elements base, base + step, ... are normalised together; this invocation reads each `stride`-th from `first` on.
    bool alone = per_position != 0;
    uint n = alone ? element() : group();
    if (n >= (alone ? batch * positions : batch)) return;
    uint base = alone ? n / positions * channels * positions + n % positions : n * channels * positions;
    uint step = alone ? positions : 1, count = alone ? channels : channels * positions;
    uint first = alone ? 0 : lane(), stride = alone ? 1 : WIDTH;
    float total = 0.0;
    for (uint k = first; k < count; k += stride) total += x(base + k * step);
    if (!alone) total = sum(total);
    float mean = total / float(count);
    total = 0.0;
    for (uint k = first; k < count; k += stride) {
        float d = x(base + k * step) - mean;
        total += d * d;
    }
    if (!alone) total = sum(total);
    float inverse_ = 1.0 / sqrt(total / float(count) + eps);
    for (uint k = first; k < count; k += stride) put(base + k * step, inverse_ * (x(base + k * step) - mean));
}
