// One step of Adam: parameters and both moments change in place.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
PARAMS(uint len; float beta1; float beta2; float log_beta1; float log_beta2; float eps; float weight_decay; float clip;)
INPUT(0, grads)
layout(set = 0, binding = 1) buffer State { float state_values[]; };
INPUT(2, control)
INPUT(3, squares)
OUTPUT

// state holds m and then v; control holds the learning rate and the step, from 1. 1 - beta^t is -expm1(t log beta).
void main() {
    uint i = element();
    if (i >= len) return;
    uint m_at = i + shift(shifts, 1), v_at = m_at + len, at = i + shift(shifts, 6);
    float step_ = max(floor(control(1)), 1.0), param = output_values[at];
    float grad_scale = 1.0;
    if (clip > 0.0) {
        float total = 0.0;
        for (uint k = 0; k < 64; k++) total += squares(k);
        grad_scale = min(1.0, clip / sqrt(total));
    }
    float g = grad_scale * grads(i) + weight_decay * param;
    float m = beta1 * state_values[m_at] + (1.0 - beta1) * g;
    float v = beta2 * state_values[v_at] + (1.0 - beta2) * (g * g);
    state_values[m_at] = m;
    state_values[v_at] = v;
    float m_hat = m / one_minus_exp(step_ * log_beta1), v_hat = v / one_minus_exp(step_ * log_beta2);
    output_values[at] = param - control(0) * m_hat / (sqrt(v_hat) + eps);
}
