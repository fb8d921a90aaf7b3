// gx = gy x / y.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint half_;)
INPUT(0, gy)
INPUT(1, x)
INPUT(2, y)
OUTPUT

// One element of x an invocation.
void main() {
    uint i = element();
    if (i >= len) return;
    uint at = i / (2 * half_) * half_ + i % half_;
    put(i, gy(at) * x(i) / y(at));
}
