// gx = g / k at the k largest, the first of equals winning: one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint batch; uint len; uint k;)
INPUT(0, g)
INPUT(1, x)
OUTPUT
#include "top.glsl"

shared uint ties[WIDTH];

void main() {
    uint n = group();
    if (n >= batch) return;
    uint least = kth_largest(n * len, len, k);
    // Each lane takes a contiguous share, so that ties are counted in order.
    uint each = (len + WIDTH - 1) / WIDTH, from = min(lane() * each, len), to = min(from + each, len);
    uint above = 0, equal = 0;
    for (uint i = from; i < to; i++) {
        uint own = key(x(n * len + i));
        above += own > least ? 1 : 0;
        equal += own == least ? 1 : 0;
    }
    above = count(above);
    ties[lane()] = equal;
    barrier();
    uint rank = 0;
    for (uint l = 0; l < lane(); l++) rank += ties[l];
    float share = g(n) / float(k);
    for (uint i = from; i < to; i++) {
        uint own = key(x(n * len + i));
        bool wins = own > least || (own == least && rank < k - above);
        rank += own == least ? 1 : 0;
        put(n * len + i, wins ? share : 0.0);
    }
}
