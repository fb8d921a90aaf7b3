// y = act(w * x + b) + r: implicit matrix product, rows are output channels, columns the positions of all samples.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left; uint act; uint has_bias; uint has_residual;)
INPUT(0, x)
INPUT(1, weight)
INPUT(2, bias)
INPUT(3, residual)
OUTPUT
#include "product.glsl"

// cin and cout count the channels of one group.
uint g, base;
int row, col;

float a_at(uint m, uint k) { return weight((g * cout + m) * cin * KH * KW + k); }

void column(uint n) {
    uint p = n % (oh * ow);
    base = (n / (oh * ow) * groups + g) * cin * h * w;
    row = int(p / ow * STRIDE) - int(top);
    col = int(p % ow * STRIDE) - int(left);
}

float b_at(uint k) {
    uint tap = k % (KH * KW);
    int i = row + int(tap / KW * DILATION), j = col + int(tap % KW * DILATION);
    if (i < 0 || j < 0 || i >= int(h) || j >= int(w)) return 0.0;
    return x(base + (k / (KH * KW) * h + uint(i)) * w + uint(j));
}

void result(uint m, uint n, float value) {
    uint channel = g * cout + m, p = n % (oh * ow);
    uint at = (n / (oh * ow) * groups * cout + channel) * oh * ow + p;
    if (has_bias != 0) value += bias(channel);
    value = activate(act, value);
    if (has_residual != 0) value += residual(at);
    put(at, value);
}

void main() {
    uint each = tiles(cout, batch * oh * ow);
    g = group() / each;
    if (g >= groups) return;
    product(group() % each, cout, batch * oh * ow, cin * KH * KW);
}
