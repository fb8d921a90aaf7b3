// Gradient of the triplet loss towards the cosines with samples, or with mixtures: one row a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "triplet.glsl"
INPUT(0, g)
INPUT(1, p)
INPUT(2, q)
INPUT(3, role)
OUTPUT
#include "triplet_row.glsl"

// How many normal samples but i an anomaly is not far enough from.
float of_anomaly(uint i, float kernel) {
    float count = 0.0;
    for (uint j = 0; j < seen(); j++) {
        if (j != i && is_normal(j) && is_open(kernel - near[j] + margin)) count += 1.0;
    }
    return count;
}

// How many anomalies are not far enough behind a normal sample.
float of_normal(float kernel) {
    float count = 0.0;
    for (uint k = 0; k < seen(); k++) {
        if (is_anomaly(k) && is_open(near[k] - kernel + margin)) count += 1.0;
        if (is_mixed(k) && is_open(mixed[k] - kernel + margin)) count += 1.0;
    }
    return count;
}

float slope(float c, float kernel, float count) {
    return 2.0 - 2.0 * c < LEAST ? 0.0 : count * kernel / (sigma * distance_(c));
}

void main() {
    uint i = group();
    if (i >= batch) return;
    float factor = row(i);
    bool counts = factor != 0.0 && i < seen() && is_normal(i);
    for (uint n = lane(); n < samples; n += WIDTH) {
        float value = 0.0;
        if (counts && n < seen()) {
            if (towards_mixed != 0) {
                if (is_mixed(n)) value = slope(q(i * samples + n), mixed[n], of_anomaly(i, mixed[n]));
            } else if (n != i && is_normal(n)) {
                value = -slope(p(i * samples + n), near[n], of_normal(near[n]));
            } else if (is_anomaly(n)) {
                value = slope(p(i * samples + n), near[n], of_anomaly(i, near[n]));
            }
        }
        put(i * samples + n, counts ? g(i) * factor * value : 0.0);
    }
}
