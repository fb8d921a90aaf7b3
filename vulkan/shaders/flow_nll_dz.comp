// gz = g z / D.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint dims;)
INPUT(0, g)
INPUT(1, z)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, g(i / dims) * z(i) / float(dims));
}
