// Exponential, arctangent and 1 - e^x with known errors: those built in may be off by thousands of units in the last place.
// The same methods and constants as on the CPU (core/src/simd/math.rs).

float exp_(float x) {
    x = x < -105.0 ? -105.0 : x;
    x = x > 89.0 ? 89.0 : x;
    float n = roundEven(x * 1.44269504);
    precise float r = x - n * 0.6933594;
    r = r - n * -2.1219444e-4;
    float p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = (r * r * p + r) + 1.0;
    int k = int(n);
    int first = k / 2;
    return p * intBitsToFloat((first + 127) << 23) * intBitsToFloat((k - first + 127) << 23);
}

float atan_(float x) {
    float size = abs(x);
    bool large = size > 1.0;
    float z = large ? 1.0 / size : size;
    float t = z * z;
    float p = -0.0017936226;
    p = p * t + 0.01091461;
    p = p * t - 0.031177854;
    p = p * t + 0.0579576;
    p = p * t - 0.08403451;
    p = p * t + 0.10952186;
    p = p * t - 0.14264242;
    p = p * t + 0.19998549;
    p = p * t - 0.333333;
    p = p * t * z + z;
    float y = large ? 1.57079637 - p - 4.371139e-8 : p;
    return x < 0.0 ? -y : y;
}

// 1 - e^x for x <= 0, without cancellation near 0.
float one_minus_exp(float x) {
    if (x < -0.5) return 1.0 - exp_(x);
    float p = 1.0 / 40320.0;
    p = p * x + 1.0 / 5040.0;
    p = p * x + 1.0 / 720.0;
    p = p * x + 1.0 / 120.0;
    p = p * x + 1.0 / 24.0;
    p = p * x + 1.0 / 6.0;
    p = p * x + 0.5;
    return -(p * x * x + x);
}
