// Exponential, logarithm and others with known errors: those built in may be off by thousands of units in the last place.
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

float tanh_(float x) {
    float size = abs(x), t = x * x;
    if (size < 0.625) {
        float p = -0.0057049873;
        p = p * t + 0.020639088;
        p = p * t - 0.053739715;
        p = p * t + 0.13331442;
        p = p * t - 0.3333328;
        return p * t * x + x;
    }
    float y = 1.0 - 2.0 / (exp_(2.0 * size) + 1.0);
    return x < 0.0 ? -y : y;
}

// The share of a standard normal below x.
float normal_below(float x) {
    float z = x * 0.70710678, t = z * z, size = abs(z);
    if (size < 0.95) {
        float p = -0.0005862124;
        p = p * t + 0.004967517;
        p = p * t - 0.026748873;
        p = p * t + 0.11281321;
        p = p * t - 0.37612447;
        p = p * t + 0.12837914;
        return 0.5 * (p * z + z) + 0.5;
    }
    size = size > 4.0 ? 4.0 : size;
    float q = -1.636482e-5;
    q = q * size + 0.00037027083;
    q = q * size - 0.0038137087;
    q = q * size + 0.024065448;
    q = q * size - 0.10650731;
    q = q * size - 0.6350434;
    q = q * size - 0.12866054;
    float beyond = 0.5 * exp_(q * size - size);
    return x < 0.0 ? beyond : 1.0 - beyond;
}

// 2 artanh(z) = ln((1 + z) / (1 - z)) for |z| <= 1/3.
float twice_artanh(float z) {
    float t = z * z, p = 1.0 / 17.0;
    p = p * t + 1.0 / 15.0;
    p = p * t + 1.0 / 13.0;
    p = p * t + 1.0 / 11.0;
    p = p * t + 1.0 / 9.0;
    p = p * t + 1.0 / 7.0;
    p = p * t + 1.0 / 5.0;
    p = p * t + 1.0 / 3.0;
    return 2.0 * z * (p * t + 1.0);
}

// Of positive normal numbers.
float log_(float x) {
    int bits = floatBitsToInt(x), e = ((bits - 0x3F3504F3) >> 23);
    float m = intBitsToFloat(bits - (e << 23));
    precise float low = float(e) * -2.1219444e-4 + twice_artanh((m - 1.0) / (m + 1.0));
    return float(e) * 0.6933594 + low;
}

// ln(1 + e^x).
float softplus(float x) {
    float e = exp_(-abs(x));
    return (x > 0.0 ? x : 0.0) + twice_artanh(e / (2.0 + e));
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
