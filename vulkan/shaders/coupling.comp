// Affine coupling: y = x exp(sigma(s)) + t on the active channels, or its inverse.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
PARAMS(uint len; uint groups; uint size; uint offset; uint active_; uint positions; float clamp_; uint form; uint inverse_;)
INPUT(0, x)
INPUT(1, st)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint p = i % positions, plane = i / positions, k = plane % size - offset;
    // Channels before the offset wrap around to large numbers.
    if (k >= active_) { put(i, x(i)); return; }
    uint s_at = (plane / size * 2 * active_ + k) * positions + p;
    float sigma = clamped(form, st(s_at), clamp_), t = st(s_at + active_ * positions);
    put(i, inverse_ != 0 ? (x(i) - t) * exp_(-sigma) : x(i) * exp_(sigma) + t);
}
