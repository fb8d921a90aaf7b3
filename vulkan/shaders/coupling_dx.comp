// gx = gy exp(sigma(s)) on the active channels.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "coupling.glsl"
PARAMS(uint len; uint groups; uint size; uint offset; uint active_; uint positions; float clamp_; uint form;)
INPUT(0, gy)
INPUT(1, st)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint p = i % positions, plane = i / positions, k = plane % size - offset;
    if (k >= active_) { put(i, gy(i)); return; }
    put(i, gy(i) * exp_(clamped(form, st((plane / size * 2 * active_ + k) * positions + p), clamp_)));
}
