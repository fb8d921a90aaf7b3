// Matrix product c(m, n) = sum over k of a(m, k) * b(k, n), in tiles through shared memory; each invocation keeps
// PART_M x PART_N results in registers. The shader that includes this says what a and b are:
//
//   float a_at(uint m, uint k)         one element of a
//   void column(uint n)                prepares column n of b
//   float b_at(uint k)                 one element of the prepared column
//   void result(uint m, uint n, float) takes one element of c
//
// A_ALONG_M, B_ALONG_K: neighbouring invocations load along that side, where memory is contiguous there.
// MATRIX is defined for devices with cooperative matrices: see the other half of this file.
//
// WIDTH = (TILE_M / PART_M) * (TILE_N / PART_N), a multiple of TILE_N unless B_ALONG_K.
layout(constant_id = 1) const uint TILE_M = 32;
layout(constant_id = 2) const uint TILE_N = 32;
layout(constant_id = 3) const uint TILE_K = 16;
layout(constant_id = 4) const uint PART_M = 4;
layout(constant_id = 5) const uint PART_N = 4;

float a_at(uint m, uint k);
void column(uint n);
float b_at(uint k);
void result(uint m, uint n, float value);

// How many workgroups one product of m x n takes.
uint tiles(uint m, uint n) { return ((m + TILE_M - 1) / TILE_M) * ((n + TILE_N - 1) / TILE_N); }

#ifndef MATRIX
shared float a_tile[TILE_K * TILE_M];
shared float b_tile[TILE_K * TILE_N];

// Computes tile number `tile` of a product of m x n over k.
void product(uint tile, uint m_end, uint n_end, uint k_end) {
    uint n_tiles = (n_end + TILE_N - 1) / TILE_N;
    uint m0 = tile / n_tiles * TILE_M;
    uint n0 = tile % n_tiles * TILE_N;
    const uint columns = TILE_N / PART_N;
    const uint rows = TILE_M / PART_M;
    uint tm = lane() / columns;
    uint tn = lane() % columns;
    float c[PART_M * PART_N];
    for (uint i = 0; i < PART_M * PART_N; i++) c[i] = 0.0;
#ifndef B_ALONG_K
    uint own_column = n0 + lane() % TILE_N;
    if (own_column < n_end) column(own_column);
#endif
    for (uint k0 = 0; k0 < k_end; k0 += TILE_K) {
        for (uint e = lane(); e < TILE_K * TILE_M; e += WIDTH) {
#ifdef A_ALONG_M
            uint m = e % TILE_M, k = e / TILE_M;
#else
            uint m = e / TILE_K, k = e % TILE_K;
#endif
            a_tile[k * TILE_M + m] = m0 + m < m_end && k0 + k < k_end ? a_at(m0 + m, k0 + k) : 0.0;
        }
        for (uint e = lane(); e < TILE_K * TILE_N; e += WIDTH) {
#ifdef B_ALONG_K
            uint n = e / TILE_K, k = e % TILE_K;
            if (n0 + n < n_end) column(n0 + n);
#else
            uint n = e % TILE_N, k = e / TILE_N;
#endif
            b_tile[k * TILE_N + n] = n0 + n < n_end && k0 + k < k_end ? b_at(k0 + k) : 0.0;
        }
        barrier();
        for (uint k = 0; k < TILE_K; k++) {
            float b[PART_N];
            for (uint j = 0; j < PART_N; j++) b[j] = b_tile[k * TILE_N + tn + j * columns];
            for (uint i = 0; i < PART_M; i++) {
                float a = a_tile[k * TILE_M + tm + i * rows];
                for (uint j = 0; j < PART_N; j++) c[i * PART_N + j] += a * b[j];
            }
        }
        barrier();
    }
    for (uint i = 0; i < PART_M; i++) {
        for (uint j = 0; j < PART_N; j++) {
            uint m = m0 + tm + i * rows, n = n0 + tn + j * columns;
            if (m < m_end && n < n_end) result(m, n, c[i * PART_N + j]);
        }
    }
}
#else
// The same with cooperative matrices: operands rounded to 16 bits, sums in 32. Each subgroup owns a band of TILE_M / subgroups rows
// and keeps its matrices of EDGE x EDGE; results go through shared memory, because only the device knows who holds which.
layout(constant_id = 11) const uint EDGE = 16;

shared float16_t a_tile[TILE_M * TILE_K];
shared float16_t b_tile[TILE_K * TILE_N];
shared float c_tile[TILE_M * TILE_N];

void product(uint tile, uint m_end, uint n_end, uint k_end) {
    uint n_tiles = (n_end + TILE_N - 1) / TILE_N;
    uint m0 = tile / n_tiles * TILE_M;
    uint n0 = tile % n_tiles * TILE_N;
    coopmat<float, gl_ScopeSubgroup, EDGE, EDGE, gl_MatrixUseAccumulator> c[TILE_N / EDGE];
    for (uint j = 0; j < TILE_N / EDGE; j++) {
        c[j] = coopmat<float, gl_ScopeSubgroup, EDGE, EDGE, gl_MatrixUseAccumulator>(0.0);
    }
    // PART_M is the number of subgroups; each has TILE_M / PART_M = EDGE rows.
    uint row = gl_SubgroupID * EDGE;
    for (uint k0 = 0; k0 < k_end; k0 += TILE_K) {
        for (uint e = lane(); e < TILE_K * TILE_M; e += WIDTH) {
#ifdef A_ALONG_M
            uint m = e % TILE_M, k = e / TILE_M;
#else
            uint m = e / TILE_K, k = e % TILE_K;
#endif
            a_tile[m * TILE_K + k] = float16_t(m0 + m < m_end && k0 + k < k_end ? a_at(m0 + m, k0 + k) : 0.0);
        }
        for (uint e = lane(); e < TILE_K * TILE_N; e += WIDTH) {
#ifdef B_ALONG_K
            uint n = e / TILE_K, k = e % TILE_K;
#else
            uint n = e % TILE_N, k = e / TILE_N;
#endif
            if (n0 + n < n_end) column(n0 + n);
            b_tile[k * TILE_N + n] = float16_t(n0 + n < n_end && k0 + k < k_end ? b_at(k0 + k) : 0.0);
        }
        barrier();
        if (gl_SubgroupID < PART_M) {
            for (uint k = 0; k < TILE_K; k += EDGE) {
                coopmat<float16_t, gl_ScopeSubgroup, EDGE, EDGE, gl_MatrixUseA> a;
                coopMatLoad(a, a_tile, row * TILE_K + k, TILE_K, gl_CooperativeMatrixLayoutRowMajor);
                for (uint j = 0; j < TILE_N / EDGE; j++) {
                    coopmat<float16_t, gl_ScopeSubgroup, EDGE, EDGE, gl_MatrixUseB> b;
                    coopMatLoad(b, b_tile, k * TILE_N + j * EDGE, TILE_N, gl_CooperativeMatrixLayoutRowMajor);
                    c[j] = coopMatMulAdd(a, b, c[j]);
                }
            }
        }
        barrier();
    }
    if (gl_SubgroupID < PART_M) {
        for (uint j = 0; j < TILE_N / EDGE; j++) {
            coopMatStore(c[j], c_tile, row * TILE_N + j * EDGE, TILE_N, gl_CooperativeMatrixLayoutRowMajor);
        }
    }
    barrier();
    for (uint e = lane(); e < TILE_M * TILE_N; e += WIDTH) {
        uint m = m0 + e / TILE_N, n = n0 + e % TILE_N;
        if (m < m_end && n < n_end) result(m, n, c_tile[e]);
    }
}
#endif
