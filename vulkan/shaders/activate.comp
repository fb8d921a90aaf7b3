// y = act(x), one element an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint act;)
INPUT(0, x)
OUTPUT

void main() {
    uint i = element();
    if (i < len) put(i, activate(act, x(i)));
}
