// gx = (gy - mean(gy) - y mean(gy y)) / sqrt(variance + eps): one sample a workgroup, or one position an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions; float eps; uint per_position;)
INPUT(0, gy)
INPUT(1, x)
OUTPUT

void main() {
    // As in layer_norm.comp.
    bool alone = per_position != 0;
    uint n = alone ? element() : group();
    if (n >= (alone ? batch * positions : batch)) return;
    uint base = alone ? n / positions * channels * positions + n % positions : n * channels * positions;
    uint step = alone ? positions : 1, count = alone ? channels : channels * positions;
    uint first = alone ? 0 : lane(), stride = alone ? 1 : WIDTH;
    float total = 0.0, level = 0.0;
    for (uint k = first; k < count; k += stride) {
        total += x(base + k * step);
        level += gy(base + k * step);
    }
    if (!alone) {
        total = sum(total);
        level = sum(level);
    }
    float mean = total / float(count);
    level /= float(count);
    total = 0.0;
    float along = 0.0;
    for (uint k = first; k < count; k += stride) {
        float d = x(base + k * step) - mean;
        total += d * d;
        along += gy(base + k * step) * d;
    }
    if (!alone) {
        total = sum(total);
        along = sum(along);
    }
    float inverse_ = 1.0 / sqrt(total / float(count) + eps);
    along *= inverse_ / float(count);
    for (uint k = first; k < count; k += stride) {
        float y = inverse_ * (x(base + k * step) - mean);
        put(base + k * step, inverse_ * (gy(base + k * step) - level - along * y));
    }
}
