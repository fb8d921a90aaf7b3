// gx of a linear layer: matrix product over the groups that share a window; what no window reads was cleared.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint groups; uint outputs; uint features; uint len; uint share; uint offset; uint stride;)
INPUT(0, gy)
INPUT(1, weight)
OUTPUT
#include "product.glsl"

uint window, n_;

float a_at(uint m, uint k) { return gy(m * groups * outputs + window * share * outputs + k); }
void column(uint n) { n_ = n; }
float b_at(uint k) { return weight((window * share * outputs + k) * features + n_); }
void result(uint m, uint n, float value) { put(m * len + offset + window * stride + n, value); }

void main() {
    uint each = tiles(batch, features);
    window = group() / each;
    if (window >= groups / share) return;
    product(group() % each, batch, features, share * outputs);
}
