// The rate that every kernel is measured against; one instruction set's code.

// 10 * rounds multiply-adds, independent enough to keep every unit busy; returns a use of them.
static float multiply_adds(int64_t rounds) {
    const Vec factor = broadcast(0.999f), term = broadcast(1e-3f);
    Vec a = term, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a;
    for (int64_t round = 0; round < rounds; ++round) {
        a = a * factor + term, b = b * factor + term, c = c * factor + term;
        d = d * factor + term, e = e * factor + term, f = f * factor + term;
        g = g * factor + term, h = h * factor + term, i = i * factor + term;
        j = j * factor + term;
    }
    return (a + b + c + d + e + f + g + h + i + j)[0];
}
