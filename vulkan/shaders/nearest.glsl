// The vector of a bank that is nearest to a position's. Squared distances are summed directly, so that nothing cancels where
// vectors are long and close. One position a workgroup, whose lanes share the bank, or the ranges of it that belong to the cells
// around the position. Bindings: x, bank [count, channels], cells [count].
shared float best_values[WIDTH];
shared uint best_numbers[WIDTH];

float best_value;
uint best_number;

void compare(uint base, uint m) {
    float square = 0.0;
    for (uint c = 0; c < channels; c++) {
        float d = x(base + c * positions) - bank(m * channels + c);
        square += d * d;
    }
    if (square < best_value) {
        best_value = square;
        best_number = m;
    }
}

// Number of cells below one; cells ascend, and where they do not this is some number up to `count`.
uint below(uint cell) {
    uint from = 0, to = count;
    while (from < to) {
        uint middle = from + (to - from) / 2;
        if (cells_values[middle + shift(shifts, CELLS)] < cell) from = middle + 1;
        else to = middle;
    }
    return from;
}

// `position` is that within the map, `base` its first number in x.
uint nearest(uint position, uint base) {
    best_value = 1.0 / 0.0;
    best_number = 0;
    bool found = radius == EVERYWHERE;
    if (!found) {
        uint row = position / columns, column = position % columns;
        uint first = column - min(column, radius), last = min(column + min(radius, columns), columns - 1);
        uint end = min(row + min(radius, rows), rows - 1);
        for (uint r = row - min(row, radius); r <= end; r++) {
            uint from = below(r * columns + first), to = below(r * columns + last + 1);
            found = found || to > from;
            for (uint m = from + lane(); m < to; m += WIDTH) compare(base, m);
        }
        if (!found) for (uint m = lane(); m < count; m += WIDTH) compare(base, m);
    } else {
        for (uint m = lane(); m < count; m += WIDTH) compare(base, m);
    }
    best_values[lane()] = best_value;
    best_numbers[lane()] = best_number;
    barrier();
    for (uint half_width = WIDTH / 2; half_width > 0; half_width /= 2) {
        if (lane() < half_width) {
            uint other = lane() + half_width;
            float a = best_values[lane()], b = best_values[other];
            if (b < a || (b == a && best_numbers[other] < best_numbers[lane()])) {
                best_values[lane()] = b;
                best_numbers[lane()] = best_numbers[other];
            }
        }
        barrier();
    }
    return best_numbers[0];
}
