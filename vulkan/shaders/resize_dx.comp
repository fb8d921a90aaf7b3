// gx of a resize: each element of x gathers from the outputs that read it.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "resize.glsl"
PARAMS(uint len; uint h; uint w; uint oh; uint ow; uint mode;)
INPUT(0, gy)
OUTPUT

// Outputs that may read sample `at`, one more on each side than needed.
uvec2 readers(uint at, uint input_len, uint output_len) {
    uint first = at <= 1 ? 0 : (at - 1) * output_len / input_len;
    uint last = at + 2 >= input_len ? output_len - 1 : min((at + 2) * output_len / input_len + 1, output_len - 1);
    return uvec2(first > 0 ? first - 1 : 0, last);
}

float share(Taps t, uint at) {
    return (t.below == at ? 1.0 - t.share : 0.0) + (t.above == at ? t.share : 0.0);
}

void main() {
    uint at = element();
    if (at >= len) return;
    uint row = at / w % h, col = at % w, base = at / (h * w) * oh * ow;
    uvec2 rows = readers(row, h, oh), cols = readers(col, w, ow);
    float total = 0.0;
    for (uint i = rows.x; i <= rows.y; i++) {
        float vertical = share(taps(mode, i, h, oh), row);
        if (vertical == 0.0) continue;
        for (uint j = cols.x; j <= cols.y; j++) {
            total += vertical * share(taps(mode, j, w, ow), col) * gy(base + i * ow + j);
        }
    }
    put(at, total);
}
