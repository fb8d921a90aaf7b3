// Where an output reads along one side. Positions are exact fractions: the host refuses sides whose products overflow.
const uint NEAREST = 0;

struct Taps { uint below; uint above; float share; };

// The two samples that output i reads, and the share of the upper one.
Taps taps(uint mode, uint i, uint input_len, uint output_len) {
    if (mode == NEAREST) {
        uint at = i * input_len / output_len;
        return Taps(at, at, 0.0);
    }
    uint twice = (2 * i + 1) * input_len;
    uint num = twice > output_len ? twice - output_len : 0;
    uint below = num / (2 * output_len);
    if (below >= input_len - 1) return Taps(input_len - 1, input_len - 1, 0.0);
    return Taps(below, below + 1, float(num % (2 * output_len)) / float(2 * output_len));
}
