// gx of a convolution for few channels a group (depthwise): one element an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left;)
INPUT(0, gy)
INPUT(1, weight)
OUTPUT

void main() {
    uint at = element();
    if (at >= batch * groups * cin * h * w) return;
    uint p = at % (h * w), channel = at / (h * w) % (groups * cin), sample_ = at / (h * w * groups * cin);
    uint g = channel / cin, c = channel % cin;
    float value = 0.0;
    for (uint o = g * cout; o < (g + 1) * cout; o++) {
        uint base = (sample_ * groups * cout + o) * oh * ow;
        for (uint u = 0; u < KH; u++) {
            int i = int(p / w + top) - int(u * DILATION);
            if (i < 0 || uint(i) % STRIDE != 0 || uint(i) / STRIDE >= oh) continue;
            for (uint v = 0; v < KW; v++) {
                int j = int(p % w + left) - int(v * DILATION);
                if (j < 0 || uint(j) % STRIDE != 0 || uint(j) / STRIDE >= ow) continue;
                value += weight(((o * cin + c) * KH + u) * KW + v) * gy(base + uint(i) / STRIDE * ow + uint(j) / STRIDE);
            }
        }
    }
    put(at, value);
}
