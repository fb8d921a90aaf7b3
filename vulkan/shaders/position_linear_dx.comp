// gx[:, p] = W[p]^T gy[:, p]: one matrix product a position, columns are samples.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint positions; uint cin; uint cout;)
INPUT(0, gy)
INPUT(1, weight)
OUTPUT
#define A_ALONG_M
#include "product.glsl"

uint p, base;

float a_at(uint m, uint k) { return weight((p * cout + k) * cin + m); }
void column(uint n) { base = n * cout * positions + p; }
float b_at(uint k) { return gy(base + k * positions); }
void result(uint m, uint n, float value) { put((n * cin + m) * positions + p, value); }

void main() {
    uint each = tiles(cin, batch);
    p = group() / each;
    if (p >= positions) return;
    product(group() % each, cin, batch, cout);
}
