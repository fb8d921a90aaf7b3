// y = sqrt(re^2 + im^2 + 1e-12); each sample's real parts lie before its imaginary ones.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint half_;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint at = i / half_ * 2 * half_ + i % half_;
    float re = x(at), im = x(at + half_);
    put(i, sqrt(re * re + im * im + 1e-12));
}
