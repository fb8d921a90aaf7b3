// y = act(w * x + b) + r for few channels a group (depthwise): one output an invocation.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "conv2d.glsl"
PARAMS(uint batch; uint h; uint w; uint oh; uint ow; uint groups; uint cin; uint cout; uint top; uint left; uint act; uint has_bias; uint has_residual;)
INPUT(0, x)
INPUT(1, weight)
INPUT(2, bias)
INPUT(3, residual)
OUTPUT

void main() {
    uint at = element();
    if (at >= batch * groups * cout * oh * ow) return;
    uint p = at % (oh * ow), channel = at / (oh * ow) % (groups * cout), sample_ = at / (oh * ow * groups * cout);
    int row = int(p / ow * STRIDE) - int(top), col = int(p % ow * STRIDE) - int(left);
    uint base = (sample_ * groups + channel / cout) * cin * h * w;
    float value = 0.0;
    for (uint c = 0; c < cin; c++) {
        for (uint u = 0; u < KH; u++) {
            int i = row + int(u * DILATION);
            if (i < 0 || i >= int(h)) continue;
            for (uint v = 0; v < KW; v++) {
                int j = col + int(v * DILATION);
                if (j < 0 || j >= int(w)) continue;
                value += weight(((channel * cin + c) * KH + u) * KW + v) * x(base + (c * h + uint(i)) * w + uint(j));
            }
        }
    }
    if (has_bias != 0) value += bias(channel);
    value = activate(act, value);
    if (has_residual != 0) value += residual(at);
    put(at, value);
}
