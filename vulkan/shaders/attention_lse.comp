// ln sum exp of the scores: one query of one head a workgroup.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "attention.glsl"
PARAMS(uint batch; uint heads; uint depth; uint tokens; float scale;)
INPUT(0, qkv)
OUTPUT

shared float scores[TOKENS];

void main() {
    uint w = group();
    if (w >= batch * heads * tokens) return;
    uint i = w % tokens, head = w / tokens % heads, n = w / (tokens * heads);
    uint part = heads * depth * tokens, q = n * 3 * part + head * depth * tokens, k = q + part;
    float top = NONE;
    for (uint j = lane(); j < tokens; j += WIDTH) {
        float score = 0.0;
        for (uint c = 0; c < depth; c++) score += qkv(q + c * tokens + i) * qkv(k + c * tokens + j);
        scores[j] = scale * score;
        top = scores[j] > top ? scores[j] : top;
    }
    top = largest(top);
    float total = 0.0;
    for (uint j = lane(); j < tokens; j += WIDTH) total += exp_(scores[j] - top);
    total = sum(total);
    if (lane() == 0) put(w, top + log_(total));
}
