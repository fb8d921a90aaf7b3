// Log-determinant of a coupling, j + sum of sigma(s): one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint groups; uint active_; uint positions; float clamp_; uint has_j;)
INPUT(0, st)
INPUT(1, j)
OUTPUT

void main() {
    uint n = group();
    if (n >= batch) return;
    uint each = active_ * positions;
    float total = 0.0;
    for (uint k = lane(); k < groups * each; k += WIDTH) {
        total += clamped(st((n * groups + k / each) * 2 * each + k % each), clamp_);
    }
    total = sum(total);
    if (lane() == 0) put(n, total + (has_j != 0 ? j(n) : 0.0));
}
