// y = (x - mean[c]) gamma[c] / sqrt(variance[c] + eps) + beta[c].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; float eps;)
INPUT(0, x)
INPUT(1, stats)
INPUT(2, gamma)
INPUT(3, beta)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    put(i, (x(i) - stats(2 * c)) * (gamma(c) / sqrt(stats(2 * c + 1) + eps)) + beta(c));
}
