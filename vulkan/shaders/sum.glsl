// Sum over a workgroup in a fixed order: a tree over the lanes. WIDTH is a power of two.
shared float partial[WIDTH];

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
