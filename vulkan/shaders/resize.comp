// Nearest or bilinear resize, one output an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "resize.glsl"
PARAMS(uint len; uint h; uint w; uint oh; uint ow; uint mode;)
INPUT(0, x)
OUTPUT

void main() {
    uint at = element();
    if (at >= len) return;
    Taps i = taps(mode, at / ow % oh, h, oh), j = taps(mode, at % ow, w, ow);
    uint base = at / (oh * ow) * h * w;
    if (mode == NEAREST) {
        put(at, x(base + i.below * w + j.below));
        return;
    }
    float upper = mix(x(base + i.below * w + j.below), x(base + i.below * w + j.above), j.share);
    float lower = mix(x(base + i.above * w + j.below), x(base + i.above * w + j.above), j.share);
    put(at, mix(upper, lower, i.share));
}
