// Cosines of a sample of x with each sample of w, 0 beyond the batch; a vector without length has cosine 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
PARAMS(uint len; uint batch; uint samples; uint width;)
INPUT(0, x)
INPUT(1, w)
OUTPUT

void main() {
    uint i = element();
    if (i >= len) return;
    uint n = i / samples, m = i % samples;
    if (m >= batch) {
        put(i, 0.0);
        return;
    }
    float both = 0.0, own = 0.0, other = 0.0;
    for (uint c = 0; c < width; c++) {
        float a = x(n * width + c), b = w(m * width + c);
        both += a * b;
        own += a * a;
        other += b * b;
    }
    own = sqrt(own);
    other = sqrt(other);
    put(i, own <= 1e-12 || other <= 1e-12 ? 0.0 : both / (own * other));
}
