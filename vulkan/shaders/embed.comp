// Channels placed among zeros.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint total; uint first; uint count;)
INPUT(0, x)
OUTPUT

// Lengths are those of one sample: `count` values go to `first` of `total`.
void main() {
    uint i = element();
    if (i >= len) return;
    uint at = i % total;
    put(i, at >= first && at < first + count ? x(i / total * count + at - first) : 0.0);
}
