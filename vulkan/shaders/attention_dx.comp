// Gradient of a self-attention: query, key and value of one position of one head a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"
PARAMS(uint batch; uint heads; uint depth; uint tokens; float scale;)
INPUT(0, gy)
INPUT(1, qkv)
INPUT(2, y)
INPUT(3, lse)
OUTPUT

shared float weights[TOKENS];
shared float slopes[TOKENS];

void main() {
    uint w = group();
    if (w >= batch * heads * tokens) return;
    uint p = w % tokens, head = w / tokens % heads, n = w / (tokens * heads);
    uint part = heads * depth * tokens, q = n * 3 * part + head * depth * tokens, k = q + part, v = k + part;
    uint o = n * part + head * depth * tokens, l = w - p;
    // As a query: slopes over all keys.
    float level = 0.0;
    for (uint c = 0; c < depth; c++) level += gy(o + c * tokens + p) * y(o + c * tokens + p);
    for (uint j = lane(); j < tokens; j += WIDTH) {
        float score = 0.0, value = 0.0;
        for (uint c = 0; c < depth; c++) {
            score += qkv(q + c * tokens + p) * qkv(k + c * tokens + j);
            value += gy(o + c * tokens + p) * qkv(v + c * tokens + j);
        }
        slopes[j] = scale * exp_(scale * score - lse(l + p)) * (value - level);
    }
    barrier();
    for (uint c = lane(); c < depth; c += WIDTH) {
        float total = 0.0;
        for (uint j = 0; j < tokens; j++) total += slopes[j] * qkv(k + c * tokens + j);
        put(q + c * tokens + p, total);
    }
    barrier();
    // As a key and value: weights and slopes over all queries.
    for (uint i = lane(); i < tokens; i += WIDTH) {
        float score = 0.0, value = 0.0, own = 0.0;
        for (uint c = 0; c < depth; c++) {
            float g = gy(o + c * tokens + i);
            score += qkv(q + c * tokens + i) * qkv(k + c * tokens + p);
            value += g * qkv(v + c * tokens + p);
            own += g * y(o + c * tokens + i);
        }
        weights[i] = exp_(scale * score - lse(l + i));
        slopes[i] = scale * weights[i] * (value - own);
    }
    barrier();
    for (uint c = lane(); c < depth; c += WIDTH) {
        float key = 0.0, value = 0.0;
        for (uint i = 0; i < tokens; i++) {
            key += slopes[i] * qkv(q + c * tokens + i);
            value += weights[i] * gy(o + c * tokens + i);
        }
        put(k + c * tokens + p, key);
        put(v + c * tokens + p, value);
    }
}
