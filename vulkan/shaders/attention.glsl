// Self-attention: places in qkv, scores of a query, and their largest.
#include "math.glsl"
#include "sum.glsl"

// Most positions (core/src/op/attention.rs).
const uint TOKENS = 1024;

// The largest value of a workgroup.
float largest(float value) {
    partial[lane()] = value;
    barrier();
    for (uint half_width = WIDTH / 2; half_width > 0; half_width /= 2) {
        if (lane() < half_width && partial[lane() + half_width] > partial[lane()]) {
            partial[lane()] = partial[lane() + half_width];
        }
        barrier();
    }
    float top = partial[0];
    barrier();
    return top;
}

const float NONE = -3.4e38;
