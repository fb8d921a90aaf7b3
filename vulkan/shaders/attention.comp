// Output of a self-attention: one query of one head a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"
PARAMS(uint batch; uint heads; uint depth; uint tokens; float scale;)
INPUT(0, qkv)
OUTPUT

shared float weights[TOKENS];

void main() {
    uint w = group();
    if (w >= batch * heads * tokens) return;
    uint i = w % tokens, head = w / tokens % heads, n = w / (tokens * heads);
    uint part = heads * depth * tokens, q = n * 3 * part + head * depth * tokens, k = q + part, v = k + part;
    float top = NONE;
    for (uint j = lane(); j < tokens; j += WIDTH) {
        float score = 0.0;
        for (uint c = 0; c < depth; c++) score += qkv(q + c * tokens + i) * qkv(k + c * tokens + j);
        weights[j] = scale * score;
        top = weights[j] > top ? weights[j] : top;
    }
    top = largest(top);
    float total = 0.0;
    for (uint j = lane(); j < tokens; j += WIDTH) {
        weights[j] = exp_(weights[j] - top);
        total += weights[j];
    }
    total = sum(total);
    for (uint c = lane(); c < depth; c += WIDTH) {
        float value = 0.0;
        for (uint j = 0; j < tokens; j++) value += weights[j] * qkv(v + c * tokens + j);
        put(n * part + (head * depth + c) * tokens + i, value / total);
    }
}
