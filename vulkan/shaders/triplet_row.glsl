// What both shaders do with a row: p, q and role are declared by then.
uint seen() { return min(batch, samples); }
bool is_normal(uint n) { return role(2 * n) > 0.0; }
bool is_anomaly(uint n) { return role(2 * n) < 0.0; }
bool is_mixed(uint n) { return role(2 * n + 1) > 0.0; }

// Kernels of row i, and the factor in front of the sums.
float row(uint i) {
    float normal = 0.0, anomalies = 0.0;
    for (uint n = lane(); n < seen(); n += WIDTH) {
        near[n] = exp_(-distance_(p(i * samples + n)) / sigma);
        mixed[n] = exp_(-distance_(q(i * samples + n)) / sigma);
        normal += is_normal(n) ? 1.0 : 0.0;
        anomalies += (is_anomaly(n) ? 1.0 : 0.0) + (is_mixed(n) ? 1.0 : 0.0);
    }
    // The sums wait for all lanes.
    normal = sum(normal);
    anomalies = sum(anomalies);
    return normal < 2.0 || anomalies == 0.0 ? 0.0 : float(batch) / (normal * (normal - 1.0) * anomalies);
}
