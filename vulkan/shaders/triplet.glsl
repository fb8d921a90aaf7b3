// Distances of a sample from the others, and what those are (core/src/kernels/triplet.rs).
#include "math.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint samples; float sigma; float margin; uint towards_mixed;)

// Most samples (core/src/op/cosine.rs).
shared float near[1024];
shared float mixed[1024];

const float LEAST = 1e-12;

// Comparisons that let NaN pass.
float distance_(float c) {
    float squared = 2.0 - 2.0 * c;
    return sqrt(squared < LEAST ? LEAST : squared);
}

bool is_open(float hinge) { return !(hinge <= 0.0); }
