// y[:, p] = W[p] x[:, p] + b[p]: one matrix product a position, columns are samples.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint positions; uint cin; uint cout;)
INPUT(0, x)
INPUT(1, weight)
INPUT(2, bias)
OUTPUT
#include "product.glsl"

uint p, base;

float a_at(uint m, uint k) { return weight((p * cout + m) * cin + k); }
void column(uint n) { base = n * cin * positions + p; }
float b_at(uint k) { return x(base + k * positions); }
void result(uint m, uint n, float value) { put((n * cout + m) * positions + p, value + bias(p * cout + m)); }

void main() {
    uint each = tiles(cout, batch);
    p = group() / each;
    if (p >= positions) return;
    product(group() % each, cout, batch, cin);
}
