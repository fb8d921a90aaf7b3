// y = act(w x + b) in groups: matrix product, rows are samples, columns the outputs of a group.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint groups; uint outputs; uint features; uint len; uint share; uint offset; uint stride; uint act; uint has_bias;)
INPUT(0, x)
INPUT(1, weight)
INPUT(2, bias)
OUTPUT
#define B_ALONG_K
#include "product.glsl"

uint g, base;

float a_at(uint m, uint k) { return x(m * len + offset + g / share * stride + k); }
void column(uint n) { base = (g * outputs + n) * features; }
float b_at(uint k) { return weight(base + k); }

void result(uint m, uint n, float value) {
    uint at = g * outputs + n;
    if (has_bias != 0) value += bias(at);
    put(m * groups * outputs + at, activate(act, value));
}

void main() {
    uint each = tiles(batch, outputs);
    g = group() / each;
    if (g >= groups) return;
    product(group() % each, batch, outputs, features);
}
