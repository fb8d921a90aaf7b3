// Mean of the k largest of a sample: one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint len; uint k;)
INPUT(0, x)
OUTPUT
#include "top.glsl"

void main() {
    uint n = group();
    if (n >= batch) return;
    uint least = kth_largest(n * len, len, k), above = 0;
    float total = 0.0;
    for (uint i = lane(); i < len; i += WIDTH) {
        float value = x(n * len + i);
        if (key(value) > least) {
            total += value;
            above++;
        }
    }
    total = sum(total);
    above = count(above);
    if (lane() == 0) put(n, (total + float(k - above) * value_of(least)) / float(k));
}
