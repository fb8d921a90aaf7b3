// Geometry of couplings: which channels are active, and the soft clamp.
#include "math.glsl"

const float TWO_OVER_PI = 0.636619772;

// form 0: (2 alpha / pi) atan(s / alpha); 1: alpha tanh(s).
float clamped(uint form, float s, float alpha) {
    return form == 0 ? TWO_OVER_PI * alpha * atan_(s / alpha) : alpha * tanh_(s);
}

float clamped_slope(uint form, float s, float alpha) {
    if (form != 0) {
        float e = exp_(-2.0 * abs(s)), below = 1.0 + e;
        return 4.0 * alpha * e / (below * below);
    }
    float r = s / alpha;
    return TWO_OVER_PI / (1.0 + r * r);
}
