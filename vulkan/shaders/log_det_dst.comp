// gs = g sigma'(s), gt = 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
PARAMS(uint len; uint groups; uint active_; uint positions; float clamp_; uint form; uint per_position;)
INPUT(0, g)
INPUT(1, st)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint each = active_ * positions;
    uint n = i / (2 * groups * each);
    float upstream = g(per_position != 0 ? n * positions + i % positions : n);
    put(i, i / each % 2 == 1 ? 0.0 : upstream * clamped_slope(form, st(i), clamp_));
}
