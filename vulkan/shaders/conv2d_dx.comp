// gx of a convolution: implicit matrix product, rows are input channels, columns the positions of x.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left;)
INPUT(0, gy)
INPUT(1, weight)
OUTPUT
#include "product.glsl"

uint g, base;
int row, col;

// k runs over output channel, kernel row, kernel column.
float a_at(uint m, uint k) {
    return weight(((g * cout + k / (KH * KW)) * cin + m) * KH * KW + k % (KH * KW));
}

void column(uint n) {
    uint p = n % (h * w);
    base = (n / (h * w) * groups + g) * cout * oh * ow;
    row = int(p / w + top);
    col = int(p % w + left);
}

float b_at(uint k) {
    uint tap = k % (KH * KW);
    int i = row - int(tap / KW * DILATION), j = col - int(tap % KW * DILATION);
    if (i < 0 || j < 0 || uint(i) % STRIDE != 0 || uint(j) % STRIDE != 0) return 0.0;
    uint oi = uint(i) / STRIDE, oj = uint(j) / STRIDE;
    if (oi >= oh || oj >= ow) return 0.0;
    return gy(base + (k / (KH * KW) * oh + oi) * ow + oj);
}

void result(uint m, uint n, float value) {
    put((n / (h * w) * groups * cin + g * cin + m) * h * w + n % (h * w), value);
}

void main() {
    uint each = tiles(cin, batch * h * w);
    g = group() / each;
    if (g >= groups) return;
    product(group() % each, cin, batch * h * w, cout * KH * KW);
}
