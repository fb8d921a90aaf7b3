// gn = g w, 0 where w is negative and n not below the limit.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint cells; float margin;)
INPUT(0, g)
INPUT(1, n)
INPUT(2, w)
INPUT(3, b)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    float limit = b(0) + margin;
    bool pulls = w(i) > 0.0 || (w(i) < 0.0 && !(n(i) >= limit));
    put(i, pulls ? g(i / cells) * w(i) : 0.0);
}
