// Sum over a workgroup in a fixed order: over each subgroup first where the device can, else a tree over the lanes. WIDTH is a
// power of two.
shared float partial[WIDTH];

#ifdef FAST
float sum(float value) {
    value = subgroupAdd(value);
    if (subgroupElect()) partial[gl_SubgroupID] = value;
    barrier();
    float total = 0.0;
    for (uint s = 0; s < gl_NumSubgroups; s++) total += partial[s];
    barrier();
    return total;
}
#else
float sum(float value) {
    partial[lane()] = value;
    barrier();
    for (uint half_width = WIDTH / 2; half_width > 0; half_width /= 2) {
        if (lane() < half_width) partial[lane()] += partial[lane() + half_width];
        barrier();
    }
    float total = partial[0];
    barrier();
    return total;
}
#endif
