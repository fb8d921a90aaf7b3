// Log-determinant of a coupling, j + sum of sigma(s): one sample a workgroup, or one position an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint groups; uint active_; uint positions; float clamp_; uint form; uint has_j; uint per_position;)
INPUT(0, st)
INPUT(1, j)
OUTPUT

void main() {
    uint each = active_ * positions;
    float total = 0.0;
    if (per_position != 0) {
        uint i = element();
        if (i >= batch * positions) return;
        uint base = i / positions * groups * 2 * each + i % positions;
        for (uint c = 0; c < groups * active_; c++) {
            total += clamped(form, st(base + c / active_ * 2 * each + c % active_ * positions), clamp_);
        }
        put(i, total + (has_j != 0 ? j(i) : 0.0));
        return;
    }
    uint n = group();
    if (n >= batch) return;
    for (uint k = lane(); k < groups * each; k += WIDTH) {
        total += clamped(form, st((n * groups + k / each) * 2 * each + k % each), clamp_);
    }
    total = sum(total);
    if (lane() == 0) put(n, total + (has_j != 0 ? j(n) : 0.0));
}
