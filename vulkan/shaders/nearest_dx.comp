// Gradient of the distance to the nearest vector: 2g(x - m), or with the root g(x - m)/y.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint rows; uint columns; uint count; uint radius; uint root;)
const uint EVERYWHERE = 1u << 28;
const uint CELLS = 3;
INPUT(0, g)
INPUT(1, x)
INPUT(2, bank)
layout(set = 0, binding = 3) readonly buffer Cells { uint cells_values[]; };
OUTPUT
uint positions = rows * columns;
#include "nearest.glsl"

void main() {
    if (group() >= batch * positions) return;
    uint position = group() % positions;
    uint base = group() / positions * channels * positions + position;
    uint m = nearest(position, base);
    float total = 0.0;
    for (uint c = lane(); c < channels; c += WIDTH) {
        float d = x(base + c * positions) - bank(m * channels + c);
        total += d * d;
    }
    total = sum(total);
    float factor = 2.0 * g(group());
    if (root != 0) factor = total > 0.0 ? g(group()) / sqrt(total) : 0.0;
    for (uint c = lane(); c < channels; c += WIDTH)
        put(base + c * positions, factor * (x(base + c * positions) - bank(m * channels + c)));
}
