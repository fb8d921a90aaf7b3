// gw of a convolution for few channels a group (depthwise): one weight a workgroup, summed over samples and positions.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
#include "sum.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left;)
INPUT(0, x)
INPUT(1, gy)
OUTPUT

void main() {
    uint at = group();
    if (at >= groups * cout * cin * KH * KW) return;
    uint tap = at % (KH * KW), o = at / (KH * KW) / cin, c = o / cout * cin + at / (KH * KW) % cin;
    int row = int(tap / KW * DILATION) - int(top), col = int(tap % KW * DILATION) - int(left);
    float value = 0.0;
    for (uint k = lane(); k < batch * oh * ow; k += WIDTH) {
        uint p = k % (oh * ow), sample_ = k / (oh * ow);
        int i = row + int(p / ow * STRIDE), j = col + int(p % ow * STRIDE);
        if (i < 0 || j < 0 || i >= int(h) || j >= int(w)) continue;
        value += x((sample_ * groups * cin + c) * h * w + uint(i) * w + uint(j)) * gy((sample_ * groups * cout + o) * oh * ow + p);
    }
    value = sum(value);
    if (lane() == 0) put(at, value);
}
