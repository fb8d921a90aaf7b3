// Gradient towards mean and variance of a channel, from the sums of gy and gy (x - mean): one channel a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint positions; float eps;)
INPUT(0, gy)
INPUT(1, x)
INPUT(2, stats)
INPUT(3, gamma)
OUTPUT

void main() {
    uint c = group();
    if (c >= channels) return;
    float mean = stats(2 * c);
    float total = 0.0;
    float dot_ = 0.0;
    for (uint k = lane(); k < batch * positions; k += WIDTH) {
        uint i = (k / positions * channels + c) * positions + k % positions;
        total += gy(i);
        dot_ += gy(i) * (x(i) - mean);
    }
    total = sum(total);
    dot_ = sum(dot_);
    if (lane() == 0) {
        float r = 1.0 / sqrt(stats(2 * c + 1) + eps);
        put(2 * c, -gamma(c) * r * total);
        put(2 * c + 1, -0.5 * gamma(c) * r * r * r * dot_);
    }
}
