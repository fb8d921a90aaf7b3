// Gradient of cosines towards x, or towards w: one vector a workgroup. G is added up twice, as outputs are not read.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint samples; uint width; uint towards_w;)
INPUT(0, g)
INPUT(1, x)
INPUT(2, w)
OUTPUT

// Most samples (core/src/op/cosine.rs).
shared float factors[1024];

float own(uint at) { return towards_w != 0 ? w(at) : x(at); }
float other(uint at) { return towards_w != 0 ? x(at) : w(at); }

float part(uint c, uint count) {
    float total = 0.0;
    for (uint k = 0; k < count; k++) total += factors[k] * other(k * width + c);
    return total;
}

void main() {
    uint n = group();
    if (n >= batch) return;
    // With the columns beyond `samples` nothing was compared.
    uint count = towards_w != 0 ? (n < samples ? batch : 0) : min(batch, samples);
    for (uint k = lane(); k < count; k += WIDTH) {
        float squares = 0.0;
        for (uint c = 0; c < width; c++) squares += other(k * width + c) * other(k * width + c);
        float length = sqrt(squares);
        float upstream = towards_w != 0 ? g(k * samples + n) : g(n * samples + k);
        factors[k] = length <= 1e-12 ? 0.0 : upstream / length;
    }
    barrier();
    float squares = 0.0, along = 0.0;
    for (uint c = lane(); c < width; c += WIDTH) {
        float v = own(n * width + c);
        squares += v * v;
        along += v * part(c, count);
    }
    squares = sum(squares);
    along = sum(along);
    float length = sqrt(squares);
    for (uint c = lane(); c < width; c += WIDTH) {
        float v = part(c, count) - along / squares * own(n * width + c);
        put(n * width + c, length <= 1e-12 ? 0.0 : v / length);
    }
}
