// gw of a convolution: matrix product over samples and positions, rows are output channels, columns taps of the kernel.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left;)
INPUT(0, x)
INPUT(1, gy)
OUTPUT
#include "product.glsl"

uint g, channel;
int row, col;

float a_at(uint m, uint k) {
    return gy((k / (oh * ow) * groups * cout + g * cout + m) * oh * ow + k % (oh * ow));
}

void column(uint n) {
    uint tap = n % (KH * KW);
    channel = g * cin + n / (KH * KW);
    row = int(tap / KW * DILATION) - int(top);
    col = int(tap % KW * DILATION) - int(left);
}

float b_at(uint k) {
    uint p = k % (oh * ow);
    int i = row + int(p / ow * STRIDE), j = col + int(p % ow * STRIDE);
    if (i < 0 || j < 0 || i >= int(h) || j >= int(w)) return 0.0;
    return x((k / (oh * ow) * groups * cin + channel) * h * w + uint(i) * w + uint(j));
}

void result(uint m, uint n, float value) { put((g * cout + m) * cin * KH * KW + n, value); }

void main() {
    uint each = tiles(cout, cin * KH * KW);
    g = group() / each;
    if (g >= groups) return;
    product(group() % each, cout, cin * KH * KW, batch * oh * ow);
}
