// Mean over the batch, one workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch;)
INPUT(0, x)
OUTPUT

void main() {
    if (group() > 0) return;
    float total = 0.0;
    for (uint n = lane(); n < batch; n += WIDTH) total += x(n);
    total = sum(total);
    if (lane() == 0) put(0, total / float(batch));
}
