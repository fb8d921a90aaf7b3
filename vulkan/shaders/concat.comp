// Channels of up to six tensors, one after the other.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint total; uint a_len; uint b_len; uint c_len; uint d_len; uint e_len; uint f_len;)
INPUT(0, a)
INPUT(1, b)
INPUT(2, c)
INPUT(3, d)
INPUT(4, e)
INPUT(5, f)
OUTPUT

// Lengths are those of one sample, zero where a slot is left out.
void main() {
    uint i = element();
    if (i >= len) return;
    uint n = i / total, at = i % total;
    if (at < a_len) { put(i, a(n * a_len + at)); return; }
    at -= a_len;
    if (at < b_len) { put(i, b(n * b_len + at)); return; }
    at -= b_len;
    if (at < c_len) { put(i, c(n * c_len + at)); return; }
    at -= c_len;
    if (at < d_len) { put(i, d(n * d_len + at)); return; }
    at -= d_len;
    if (at < e_len) { put(i, e(n * e_len + at)); return; }
    put(i, f(n * f_len + at - e_len));
}
