// The largest of each window, one output an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint h; uint w; uint oh; uint ow; uint k; uint stride; uint pad;)
INPUT(0, x)
OUTPUT

void main() {
    uint at = element();
    if (at >= len) return;
    uint base = at / (oh * ow) * h * w;
    int row = int(at / ow % oh * stride) - int(pad), col = int(at % ow * stride) - int(pad);
    bool any = false;
    float best = 0.0;
    for (int i = max(row, 0); i < min(row + int(k), int(h)); i++) {
        for (int j = max(col, 0); j < min(col + int(k), int(w)); j++) {
            float value = x(base + uint(i) * w + uint(j));
            if (!any || value > best) best = value;
            any = true;
        }
    }
    put(at, best);
}
