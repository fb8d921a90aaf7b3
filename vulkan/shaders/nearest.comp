// Distance of each position to the nearest vector of a bank, summed directly so that nothing cancels.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint channels; uint rows; uint columns; uint count; uint radius; uint root;)
const uint EVERYWHERE = 1u << 28;
const uint CELLS = 2;
INPUT(0, x)
INPUT(1, bank)
layout(set = 0, binding = 2) readonly buffer Cells { uint cells_values[]; };
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
    if (lane() == 0) put(group(), root != 0 ? sqrt(total) : total);
}
