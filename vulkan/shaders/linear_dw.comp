// gw of a linear layer: matrix product over samples, rows are outputs, columns inputs.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint groups; uint outputs; uint features; uint len; uint share; uint offset; uint stride;)
INPUT(0, x)
INPUT(1, gy)
OUTPUT
#define A_ALONG_M
#include "product.glsl"

uint g, n_;

float a_at(uint m, uint k) { return gy(k * groups * outputs + g * outputs + m); }
void column(uint n) { n_ = n; }
float b_at(uint k) { return x(k * len + offset + g / share * stride + n_); }
void result(uint m, uint n, float value) { put((g * outputs + m) * features + n, value); }

void main() {
    uint each = tiles(outputs, features);
    g = group() / each;
    if (g >= groups) return;
    product(group() % each, outputs, features, batch);
}
