// Triplet loss of a sample over all other normal ones and all anomalies: one sample a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "triplet.glsl"
INPUT(0, p)
INPUT(1, q)
INPUT(2, role)
OUTPUT
#include "triplet_row.glsl"

void main() {
    uint i = group();
    if (i >= batch) return;
    float factor = row(i);
    float total = 0.0;
    if (i < seen() && is_normal(i)) {
        for (uint j = lane(); j < seen(); j += WIDTH) {
            if (j == i || !is_normal(j)) continue;
            for (uint k = 0; k < seen(); k++) {
                float hinge = near[k] - near[j] + margin;
                if (is_anomaly(k) && is_open(hinge)) total += hinge;
                hinge = mixed[k] - near[j] + margin;
                if (is_mixed(k) && is_open(hinge)) total += hinge;
            }
        }
    }
    total = sum(total);
    if (lane() == 0) put(i, factor == 0.0 ? 0.0 : factor * total);
}
