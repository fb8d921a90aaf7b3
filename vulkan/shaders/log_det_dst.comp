// gs = g sigma'(s), gt = 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
PARAMS(uint len; uint groups; uint active_; uint positions; float clamp_;)
INPUT(0, g)
INPUT(1, st)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint each = active_ * positions;
    put(i, i / each % 2 == 1 ? 0.0 : g(i / (2 * groups * each)) * clamped_slope(st(i), clamp_));
}
