// y[c] = x[pi(c)], or the inverse y[pi(c)] = x[c].
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint channels; uint positions; uint inverse_;)
INPUT(0, x)
layout(set = 0, binding = 1) readonly buffer Index { uint index_values[]; };
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint c = i / positions % channels;
    // Channel numbers were checked when the model was parsed; any other bits stay inside.
    uint other = min(index_values[c + shift(shifts, 1)], channels - 1);
    uint moved = i + other * positions - c * positions;
    if (inverse_ != 0) put(moved, x(i));
    else put(i, x(moved));
}
