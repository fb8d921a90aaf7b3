// What smooth.comp and smooth_dx.comp share. After math.glsl.

// 1 / (1 + e^-x), accurate on both sides of 0.
float sigmoid_(float x) {
    float t = exp_(-abs(x));
    float large = 1.0 / (1.0 + t);
    return x < 0.0 ? t * large : large;
}

// Functions of smooth.comp.
const uint SILU = 0;
const uint GELU = 2;
const uint GLOBAL_SCALE = 3;
