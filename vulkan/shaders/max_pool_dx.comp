// gx of max pooling: each element gathers from the windows whose first maximum it is.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint h; uint w; uint oh; uint ow; uint k; uint stride; uint pad;)
INPUT(0, x)
INPUT(1, gy)
OUTPUT

// Where the first maximum of window (oi, oj) lies.
uint winner(uint base, uint oi, uint oj) {
    int row = int(oi * stride) - int(pad), col = int(oj * stride) - int(pad);
    uint at = 0;
    bool any = false;
    float best = 0.0;
    for (int i = max(row, 0); i < min(row + int(k), int(h)); i++) {
        for (int j = max(col, 0); j < min(col + int(k), int(w)); j++) {
            float value = x(base + uint(i) * w + uint(j));
            if (any && !(value > best)) continue;
            best = value;
            at = uint(i) * w + uint(j);
            any = true;
        }
    }
    return at;
}

void main() {
    uint at = element();
    if (at >= len) return;
    uint plane = at / (h * w), p = at % (h * w);
    uint row = p / w + pad, col = p % w + pad;
    uint first_i = row < k ? 0 : (row - k) / stride + 1, first_j = col < k ? 0 : (col - k) / stride + 1;
    float total = 0.0;
    for (uint oi = first_i; oi <= min(row / stride, oh - 1); oi++) {
        for (uint oj = first_j; oj <= min(col / stride, ow - 1); oj++) {
            if (winner(plane * h * w, oi, oj) == p) total += gy((plane * oh + oi) * ow + oj);
        }
    }
    put(at, total);
}
