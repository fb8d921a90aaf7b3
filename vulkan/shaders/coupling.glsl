// Geometry of couplings: which channels are active, and the soft clamp.
#include "math.glsl"

const float TWO_OVER_PI = 0.636619772;

float clamped(float s, float alpha) { return TWO_OVER_PI * alpha * atan_(s / alpha); }
float clamped_slope(float s, float alpha) { float r = s / alpha; return TWO_OVER_PI / (1.0 + r * r); }
