// The k-th largest of a sample, found bit by bit: counts how many values reach a candidate, 32 times.
shared uint counts[WIDTH];

#ifdef FAST
uint count(uint value) {
    value = subgroupAdd(value);
    if (subgroupElect()) counts[gl_SubgroupID] = value;
    barrier();
    uint total = 0;
    for (uint s = 0; s < gl_NumSubgroups; s++) total += counts[s];
    barrier();
    return total;
}
#else
uint count(uint value) {
    counts[lane()] = value;
    barrier();
    for (uint half_width = WIDTH / 2; half_width > 0; half_width /= 2) {
        if (lane() < half_width) counts[lane()] += counts[lane() + half_width];
        barrier();
    }
    uint total = counts[0];
    barrier();
    return total;
}
#endif

// Bits in an order that unsigned integers share.
uint key(float value) {
    uint bits = floatBitsToUint(value);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

float value_of(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key); }

// Key of the k-th largest of `len` values from `base`.
uint kth_largest(uint base, uint len, uint k) {
    uint found = 0;
    for (int bit = 31; bit >= 0; bit--) {
        uint candidate = found | (1u << bit), reach = 0;
        for (uint i = lane(); i < len; i += WIDTH) reach += key(x(base + i)) >= candidate ? 1 : 0;
        if (count(reach) >= k) found = candidate;
    }
    return found;
}
