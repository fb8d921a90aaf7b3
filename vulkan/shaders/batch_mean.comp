// Mean over the batch, one workgroup. Losses of both signs cancel, so the sums are compensated (Neumaier 1974).
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch;)
INPUT(0, x)
OUTPUT

shared vec2 partial[WIDTH];

// A sum and what rounding has taken from it.
vec2 plus(vec2 sum, float value) {
    precise float total = sum.x + value;
    precise float lost = abs(sum.x) >= abs(value) ? (sum.x - total) + value : (value - total) + sum.x;
    return vec2(total, sum.y + lost);
}

void main() {
    if (group() > 0) return;
    vec2 own = vec2(0.0);
    for (uint n = lane(); n < batch; n += WIDTH) own = plus(own, x(n));
    partial[lane()] = own;
    barrier();
    if (lane() != 0) return;
    for (uint l = 1; l < WIDTH; l++) own = plus(plus(own, partial[l].x), partial[l].y);
    put(0, (own.x + own.y) / float(batch));
}
