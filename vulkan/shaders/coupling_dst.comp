// gs = gy x exp(sigma(s)) sigma'(s), gt = gy.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
PARAMS(uint len; uint groups; uint size; uint offset; uint active_; uint positions; float clamp_; uint form;)
INPUT(0, gy)
INPUT(1, x)
INPUT(2, st)
OUTPUT

// One element of st an invocation.
void main() {
    uint i = element();
    if (i >= len) return;
    uint p = i % positions, plane = i / positions, k = plane % (2 * active_);
    bool translation = k >= active_;
    uint x_at = (plane / (2 * active_) * size + offset + (translation ? k - active_ : k)) * positions + p;
    float g = gy(x_at);
    put(i, translation ? g : g * x(x_at) * exp_(clamped(form, st(i), clamp_)) * clamped_slope(form, st(i), clamp_));
}
