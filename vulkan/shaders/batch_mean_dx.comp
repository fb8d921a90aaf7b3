// gx[n] = g / N, with g = 1 where left out.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint has_g;)
INPUT(0, g)
OUTPUT

void main() {
    uint n = element();
    if (n < batch) put(n, (has_g != 0 ? g(0) : 1.0) / float(batch));
}
