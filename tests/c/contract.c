/* What adflow.h promises about models, images and errors.
 *
 *     contract MODEL GREY RGB MAP FOLDER
 *
 * GREY and RGB are the bits of the scores that Rust gets for the same pixels, MAP a file with the map of the RGB image at
 * 50x40, FOLDER a place to write to. */
#include "check.h"

#include <math.h>

static adflow_model *model;
static adflow_session *session;
static uint32_t grey_bits, rgb_bits;
static uint8_t *grey, *rgb;

static adflow_image good(void) { return describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB); }

/* One picture in every layout gives one score. */
static void layouts(void)
{
    enum { N = WIDTH * HEIGHT };
    adflow_image i;

    CHECK(score_bits(session, describe(grey, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY)) == grey_bits);
    CHECK(score_bits(session, good()) == rgb_bits);

    uint8_t *bgr = malloc(3 * N), *rgba = malloc(4 * N), *bgra = malloc(4 * N), *planes = malloc(3 * N);
    uint8_t *transposed = malloc(3 * N), *mirrored = malloc(3 * N), *upside_down = malloc(3 * N);
    uint16_t *words = malloc(2 * 3 * N), *scaled = malloc(2 * 3 * N);
    float *floats = malloc(4 * 3 * N);
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t x = 0; x < WIDTH; x++)
            for (size_t c = 0; c < 3; c++) {
                size_t p = y * WIDTH + x;
                uint8_t v = pixel(x, y, c);
                bgr[3 * p + 2 - c] = v;
                rgba[4 * p + c] = v;
                bgra[4 * p + 2 - c] = v;
                planes[c * N + p] = v;
                transposed[3 * (x * HEIGHT + y) + c] = v;
                mirrored[3 * (y * WIDTH + WIDTH - 1 - x) + c] = v;
                upside_down[3 * ((HEIGHT - 1 - y) * WIDTH + x) + c] = v;
                words[3 * p + c] = v;
                scaled[3 * p + c] = (uint16_t)(v * 257);
                floats[3 * p + c] = v;
            }
    CHECK(score_bits(session, describe(bgr, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_BGR)) == rgb_bits);
    CHECK(score_bits(session, describe(rgba, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGBA)) == rgb_bits);
    CHECK(score_bits(session, describe(bgra, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_BGRA)) == rgb_bits);

    i = describe(planes, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.plane_stride = N;
    CHECK(score_bits(session, i) == rgb_bits);
    i.data = planes + 2 * N;
    i.plane_stride = -N;
    i.channels = ADFLOW_CHANNELS_BGR;
    CHECK(score_bits(session, i) == rgb_bits);

    /* Planes that were allocated apart. */
    uint8_t *apart[3];
    for (size_t c = 0; c < 3; c++) {
        apart[c] = malloc(N);
        memcpy(apart[c], planes + c * N, N);
    }
    i = describe(apart[0], ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.plane_2 = apart[1];
    i.plane_3 = apart[2];
    CHECK(score_bits(session, i) == rgb_bits);

    i = describe(transposed, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.pixel_stride = 3 * HEIGHT;
    i.row_stride = 3;
    CHECK(score_bits(session, i) == rgb_bits);
    i = describe(mirrored + 3 * (WIDTH - 1), ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.pixel_stride = -3;
    CHECK(score_bits(session, i) == rgb_bits);
    i = describe(upside_down + 3 * WIDTH * (HEIGHT - 1), ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.row_stride = -3 * WIDTH;
    CHECK(score_bits(session, i) == rgb_bits);

    i = describe(words, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_RGB);
    i.white = 255;
    CHECK(score_bits(session, i) == rgb_bits);
    i = describe(floats, ADFLOW_SAMPLES_F32, ADFLOW_CHANNELS_RGB);
    i.white = 255;
    CHECK(score_bits(session, i) == rgb_bits);

    /* Sixteen bits of white 65535: the same but for the last bits of v * 257 / 65535. */
    adflow_result exact = {.struct_size = sizeof exact}, near = {.struct_size = sizeof near};
    adflow_image eight = good();
    i = describe(scaled, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_RGB);
    CHECK(adflow_session_score(session, &eight, NULL, &exact) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_score(session, &i, NULL, &near) == ADFLOW_STATUS_OK);
    CHECK(fabsf(exact.score - near.score) <= 1e-3f * fabsf(exact.score));

    /* A region of a larger picture. */
    enum { STRIDE = 3 * (WIDTH + 9) };
    uint8_t *large = malloc(STRIDE * (HEIGHT + 4));
    memset(large, 77, STRIDE * (HEIGHT + 4));
    uint8_t *corner = large + 2 * STRIDE + 3 * 5;
    for (size_t y = 0; y < HEIGHT; y++)
        memcpy(corner + y * STRIDE, rgb + y * 3 * WIDTH, 3 * WIDTH);
    i = describe(corner, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.row_stride = STRIDE;
    CHECK(score_bits(session, i) == rgb_bits);

    /* Seven channels a pixel, as of a multispectral camera: any three of them, or any one. */
    enum { CHANNELS = 7 };
    uint8_t *seven = malloc(CHANNELS * N);
    memset(seven, 77, CHANNELS * N);
    for (size_t p = 0; p < N; p++) {
        seven[CHANNELS * p + 5] = planes[p];
        seven[CHANNELS * p + 1] = planes[N + p];
        seven[CHANNELS * p + 6] = planes[2 * N + p];
        seven[CHANNELS * p + 3] = grey[p];
    }
    i = describe(seven + 5, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    i.pixel_stride = CHANNELS;
    i.plane_2 = seven + 1;
    i.plane_3 = seven + 6;
    CHECK(score_bits(session, i) == rgb_bits);
    i = describe(seven + 3, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY);
    i.pixel_stride = CHANNELS;
    CHECK(score_bits(session, i) == grey_bits);
    free(seven);

    for (size_t c = 0; c < 3; c++)
        free(apart[c]);
    free(large), free(bgr), free(rgba), free(bgra), free(planes), free(transposed), free(mirrored);
    free(upside_down), free(words), free(scaled), free(floats);
}

static void maps(const char *path)
{
    enum { W = 50, H = 40, STRIDE = W + 3 };
    static float expected[H][W], found[H][STRIDE], flipped[H][STRIDE];
    FILE *file = fopen(path, "rb");
    CHECK(file && fread(expected, sizeof(float), W * H, file) == W * H);
    fclose(file);
    for (size_t i = 0; i < H * STRIDE; i++)
        (&found[0][0])[i] = (&flipped[0][0])[i] = -7;

    adflow_image image = good();
    adflow_result result = {.struct_size = sizeof result};
    adflow_map map = {.struct_size = sizeof map, .width = W, .height = H, .data = &found[0][0],
                      .row_stride = STRIDE * sizeof(float)};
    CHECK(adflow_session_score(session, &image, &map, &result) == ADFLOW_STATUS_OK);
    CHECK(bits(result.score) == rgb_bits);
    map.data = flipped[H - 1];
    map.row_stride = -map.row_stride;
    CHECK(adflow_session_score(session, &image, &map, &result) == ADFLOW_STATUS_OK);
    for (size_t y = 0; y < H; y++) {
        CHECK(memcmp(found[y], expected[y], sizeof expected[y]) == 0);
        CHECK(memcmp(flipped[H - 1 - y], expected[y], sizeof expected[y]) == 0);
        for (size_t x = W; x < STRIDE; x++)
            CHECK(found[y][x] == -7 && flipped[y][x] == -7);
    }

    float one = -7;
    map = (adflow_map){.struct_size = sizeof map, .width = 1, .height = 1, .data = &one};
    CHECK(adflow_session_score(session, &image, &map, &result) == ADFLOW_STATUS_OK && one >= 0);

    one = -7;
    map.width = 0;
    FAILS(ADFLOW_STATUS_ARGUMENT, "0x1", adflow_session_score(session, &image, &map, &result));
    map.width = 1;
    map.data = NULL;
    FAILS(ADFLOW_STATUS_NULL, "map.data", adflow_session_score(session, &image, &map, &result));
    map.data = &one;
    map.height = 2;
    map.row_stride = 2;
    FAILS(ADFLOW_STATUS_ARGUMENT, "row_stride", adflow_session_score(session, &image, &map, &result));
    map.row_stride = PTRDIFF_MAX - 3;
    FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_session_score(session, &image, &map, &result));
    map.row_stride = PTRDIFF_MIN;
    FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_session_score(session, &image, &map, &result));
    map.struct_size = 3;
    FAILS(ADFLOW_STATUS_ARGUMENT, "struct_size", adflow_session_score(session, &image, &map, &result));

    /* A session without maps. */
    adflow_session *plain;
    adflow_session_options options = {.struct_size = sizeof options, .no_map = 1, .threads = 1};
    CHECK(adflow_session_new(model, &options, &plain) == ADFLOW_STATUS_OK);
    map = (adflow_map){.struct_size = sizeof map, .width = 1, .height = 1, .data = &one};
    FAILS(ADFLOW_STATUS_NO_MAP, "map", adflow_session_score(plain, &image, &map, &result));
    CHECK(score_bits(plain, image) == rgb_bits);
    CHECK(one == -7);
    adflow_session_free(plain);
}

/* The image is refused, the result untouched, and the next good image scores as ever. */
#define REFUSED(status, text, image)                                                                         \
    do {                                                                                                     \
        adflow_result result_ = {.struct_size = sizeof result_, .score = 42, .verdict = 9};                  \
        FAILS(status, text, adflow_session_score(session, &(image), NULL, &result_));                        \
        CHECK(result_.score == 42 && result_.verdict == 9);                                                  \
        CHECK(score_bits(session, good()) == rgb_bits);                                                      \
    } while (0)

static void bad_images(void)
{
    adflow_image i = good();
    adflow_result result = {.struct_size = sizeof result};
    FAILS(ADFLOW_STATUS_NULL, "session", adflow_session_score(NULL, &i, NULL, &result));
    FAILS(ADFLOW_STATUS_NULL, "image", adflow_session_score(session, NULL, NULL, &result));
    FAILS(ADFLOW_STATUS_NULL, "result", adflow_session_score(session, &i, NULL, NULL));

    i = good(), i.data = NULL;
    REFUSED(ADFLOW_STATUS_NULL, "image.data", i);
    i = good(), i.width = 0;
    REFUSED(ADFLOW_STATUS_IMAGE, "0x44", i);
    i = good(), i.height = 0;
    REFUSED(ADFLOW_STATUS_IMAGE, "60x0", i);
    i = good(), i.samples = 3;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "adflow_samples", i);
    i = good(), i.channels = UINT32_MAX;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "adflow_channels", i);
    i = good(), i.white = -1;
    REFUSED(ADFLOW_STATUS_IMAGE, "white", i);
    i = good(), i.white = NAN;
    REFUSED(ADFLOW_STATUS_IMAGE, "white", i);

    /* Strides that lead nowhere. */
    const ptrdiff_t hostile[] = {PTRDIFF_MAX, PTRDIFF_MIN, PTRDIFF_MAX / 2, PTRDIFF_MIN / 2, PTRDIFF_MIN + 1};
    for (size_t k = 0; k < sizeof hostile / sizeof *hostile; k++) {
        i = good(), i.row_stride = hostile[k];
        REFUSED(ADFLOW_STATUS_IMAGE, "memory", i);
        i = good(), i.pixel_stride = hostile[k];
        REFUSED(ADFLOW_STATUS_IMAGE, "memory", i);
        i = good(), i.plane_stride = hostile[k];
        REFUSED(ADFLOW_STATUS_IMAGE, "memory", i);
    }
    i = good(), i.width = UINT32_MAX, i.height = UINT32_MAX;
    REFUSED(ADFLOW_STATUS_IMAGE, "", i);
    i = good(), i.row_stride = 3 * WIDTH - 1;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "overlap", i);
    i = good(), i.pixel_stride = 2;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "overlap", i);
    i = good(), i.samples = ADFLOW_SAMPLES_U16, i.width = 4, i.row_stride = 3 * WIDTH + 1;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "multiple of 2", i);
    i = good(), i.samples = ADFLOW_SAMPLES_U16, i.width = 4, i.height = 4, i.data = rgb + 1;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "aligned", i);
    i = good(), i.plane_2 = rgb;
    REFUSED(ADFLOW_STATUS_NULL, "plane_3", i);
    i = good(), i.plane_2 = i.plane_3 = rgb, i.plane_stride = 1000;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "plane_2", i);
    i = describe(grey, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY), i.plane_3 = grey;
    REFUSED(ADFLOW_STATUS_ARGUMENT, "plane_2", i);

    /* Numbers that are none. */
    static float floats[WIDTH * HEIGHT];
    i = describe(floats, ADFLOW_SAMPLES_F32, ADFLOW_CHANNELS_GREY);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < 3; k++) {
        floats[7 * WIDTH + 11] = bad[k];
        REFUSED(ADFLOW_STATUS_IMAGE, "(11, 7)", i);
    }

    /* An image wider than the session was made for. */
    adflow_session *narrow;
    adflow_session_options options = {.struct_size = sizeof options, .max_width = WIDTH - 1};
    CHECK(adflow_session_new(model, &options, &narrow) == ADFLOW_STATUS_OK);
    i = good();
    FAILS(ADFLOW_STATUS_IMAGE, "59", adflow_session_score(narrow, &i, NULL, &result));
    i.width = WIDTH - 1, i.row_stride = 3 * WIDTH;
    CHECK(adflow_session_score(narrow, &i, NULL, &result) == ADFLOW_STATUS_OK);
    adflow_session_free(narrow);
}

/* Structs of older and newer programs, and of programs that forgot the size. */
static void sizes(void)
{
    struct newer {
        adflow_image image;
        uint64_t extra;
    } newer = {.image = good()};
    adflow_image i = good();
    adflow_result result = {.struct_size = sizeof result};

    i.struct_size = offsetof(adflow_image, row_stride);
    i.row_stride = 1; /* not part of what the old program has */
    CHECK(score_bits(session, i) == rgb_bits);
    newer.image.struct_size = sizeof newer;
    CHECK(adflow_session_score(session, &newer.image, NULL, &result) == ADFLOW_STATUS_OK);
    CHECK(bits(result.score) == rgb_bits);
    newer.extra = 1;
    FAILS(ADFLOW_STATUS_UNSUPPORTED, "older", adflow_session_score(session, &newer.image, NULL, &result));
    const uint32_t wrong[] = {0, 1, 16, 4097, UINT32_MAX};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        i = good(), i.struct_size = wrong[k];
        REFUSED(ADFLOW_STATUS_ARGUMENT, "struct_size", i);
        result.struct_size = wrong[k], result.score = 42;
        i = good();
        if (wrong[k] != 16) {
            FAILS(ADFLOW_STATUS_ARGUMENT, "struct_size", adflow_session_score(session, &i, NULL, &result));
            CHECK(result.score == 42);
        }
    }

    /* An old result has no `reject`; a new one has more, which becomes zero. */
    result = (adflow_result){.struct_size = offsetof(adflow_result, reject), .reject = 42};
    CHECK(adflow_session_score(session, &i, NULL, &result) == ADFLOW_STATUS_OK);
    CHECK(bits(result.score) == rgb_bits && result.reject == 42);
    struct {
        adflow_result result;
        uint64_t extra;
    } larger = {.result = {.struct_size = sizeof larger}, .extra = 42};
    CHECK(adflow_session_score(session, &i, NULL, &larger.result) == ADFLOW_STATUS_OK);
    CHECK(bits(larger.result.score) == rgb_bits && larger.extra == 0);

    adflow_session *made = NULL;
    adflow_session_options options = {.struct_size = 4, .max_width = 1, .threads = UINT32_MAX};
    CHECK(adflow_session_new(model, &options, &made) == ADFLOW_STATUS_OK);
    CHECK(score_bits(made, i) == rgb_bits);
    adflow_session_free(made);
    made = NULL;
    options.struct_size = sizeof options;
    FAILS(ADFLOW_STATUS_ARGUMENT, "threads", adflow_session_new(model, &options, &made));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_session_new(NULL, NULL, &made));
    FAILS(ADFLOW_STATUS_NULL, "session", adflow_session_new(model, NULL, NULL));
    CHECK(made == NULL);
}

static void thresholds(void)
{
    adflow_threshold t = {.struct_size = sizeof t}, read = {.struct_size = sizeof read};
    adflow_result result = {.struct_size = sizeof result};
    adflow_image image = good();
    adflow_session *fresh;

    CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
    float score = result.score;
    CHECK(result.verdict != ADFLOW_VERDICT_NONE && result.reject == result.reject);

    const struct {
        float reject, accept;
        uint32_t grey_zone, verdict;
    } cases[] = {
        {score, 0, 0, ADFLOW_VERDICT_GOOD},
        {score / 2, 0, 0, ADFLOW_VERDICT_DEFECTIVE},
        {score * 2, score / 2, 1, ADFLOW_VERDICT_UNSURE},
        {score * 2, score, 1, ADFLOW_VERDICT_GOOD},
    };
    /* A claim that the model's own scores do not support is dropped. */
    t.held_out = 300, t.false_reject = 0.01, t.confidence = 0.95;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        t.reject = cases[k].reject, t.accept = cases[k].accept, t.grey_zone = cases[k].grey_zone;
        CHECK(adflow_session_set_threshold(session, &t) == ADFLOW_STATUS_OK);
        CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
        CHECK(result.verdict == cases[k].verdict && result.reject == t.reject && bits(result.score) == bits(score));
        CHECK(adflow_model_set_threshold(model, &t) == ADFLOW_STATUS_OK);
        CHECK(adflow_model_get_threshold(model, &read) == ADFLOW_STATUS_OK);
        CHECK(read.reject == t.reject && read.grey_zone == t.grey_zone && read.held_out == 0);
        CHECK(!t.grey_zone || read.accept == t.accept);
        CHECK(adflow_session_new(model, NULL, &fresh) == ADFLOW_STATUS_OK);
        CHECK(adflow_session_score(fresh, &image, NULL, &result) == ADFLOW_STATUS_OK);
        CHECK(result.verdict == cases[k].verdict);
        adflow_session_free(fresh);
    }
    t.reject = NAN;
    FAILS(ADFLOW_STATUS_ARGUMENT, "reject", adflow_session_set_threshold(session, &t));
    FAILS(ADFLOW_STATUS_ARGUMENT, "reject", adflow_model_set_threshold(model, &t));
    t.reject = 1, t.accept = 2, t.grey_zone = 1;
    FAILS(ADFLOW_STATUS_ARGUMENT, "accept", adflow_model_set_threshold(model, &t));
    t.grey_zone = 0, t.confidence = 2;
    FAILS(ADFLOW_STATUS_ARGUMENT, "confidence", adflow_model_set_threshold(model, &t));

    CHECK(adflow_session_set_threshold(session, NULL) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
    CHECK(result.verdict == ADFLOW_VERDICT_NONE && result.reject != result.reject);
    CHECK(adflow_model_set_threshold(model, NULL) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_NOT_FOUND, "threshold", adflow_model_get_threshold(model, &read));

    CHECK(adflow_model_calibrate(model, 0.2, 0.5, 0, &t) == ADFLOW_STATUS_OK);
    CHECK(t.held_out > 0 && t.false_reject == 0.2 && t.grey_zone == 0 && t.confidence > 0);
    CHECK(adflow_model_calibrate(model, 0.2, 0.5, 0.6, &read) == ADFLOW_STATUS_OK);
    CHECK(read.grey_zone == 1 && read.accept <= read.reject && read.reject == t.reject);
    CHECK(adflow_model_set_threshold(model, &read) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_ARGUMENT, "between", adflow_model_calibrate(model, 0, 0.5, 0, &t));
    FAILS(ADFLOW_STATUS_ARGUMENT, "between", adflow_model_calibrate(model, 0.1, NAN, 0, &t));
    FAILS(ADFLOW_STATUS_NULL, "threshold", adflow_model_calibrate(model, 0.1, 0.9, 0, NULL));
}

static void models(const char *path, const char *folder)
{
    adflow_model *other = NULL;
    adflow_session *session_of_other;
    adflow_model_info info = {.struct_size = sizeof info};
    const char *key, *value = NULL;
    size_t length = 0, count = 0;

    CHECK(adflow_model_get_info(model, &info) == ADFLOW_STATUS_OK);
    CHECK(strcmp(info.method, "gauss") == 0 && strcmp(info.backbone, "builtin") == 0);
    CHECK(info.input_size == 64 && info.views > 0 && info.map_width == 64 && info.map_height == 64);
    CHECK(info.param_bytes > 0 && info.file_bytes > info.param_bytes);
    CHECK(adflow_model_about(model, "seed", &value) == ADFLOW_STATUS_OK && strcmp(value, "7") == 0);
    FAILS(ADFLOW_STATUS_NOT_FOUND, "colour", adflow_model_about(model, "colour", &value));
    FAILS(ADFLOW_STATUS_ARGUMENT, "UTF-8", adflow_model_about(model, "\xff", &value));
    while (adflow_model_about_at(model, count, &key, &value) == ADFLOW_STATUS_OK)
        count++;
    CHECK(count > 3);

    /* From memory, and back. */
    FAILS(ADFLOW_STATUS_BUFFER_TOO_SMALL, "buffer 0", adflow_model_to_memory(model, NULL, 0, &length));
    CHECK(length == info.file_bytes);
    unsigned char *bytes = malloc(length);
    CHECK(adflow_model_to_memory(model, bytes, length, &length) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_from_memory(bytes, length, &other) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_new(other, NULL, &session_of_other) == ADFLOW_STATUS_OK);
    adflow_model_free(other);
    CHECK(score_bits(session_of_other, good()) == rgb_bits); /* the session lives on */
    adflow_session_free(session_of_other);

    other = NULL;
    FAILS(ADFLOW_STATUS_MODEL, "not an adflow model", adflow_model_from_memory(bytes, 0, &other));
    FAILS(ADFLOW_STATUS_MODEL, "not an adflow model", adflow_model_from_memory(NULL, 0, &other));
    FAILS(ADFLOW_STATUS_NULL, "bytes", adflow_model_from_memory(NULL, 8, &other));
    FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_model_from_memory(bytes, SIZE_MAX, &other));
    FAILS(ADFLOW_STATUS_MODEL, "truncated", adflow_model_from_memory(bytes, length - 1, &other));
    bytes[length / 2] ^= 1;
    FAILS(ADFLOW_STATUS_MODEL, "damaged", adflow_model_from_memory(bytes, length, &other));
    free(bytes);

    char file[4096];
    snprintf(file, sizeof file, "%s/saved.adflow", folder);
    CHECK(adflow_model_save(model, file) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_open(file, &other) == ADFLOW_STATUS_OK);
    adflow_model_free(other);
    other = NULL;
    snprintf(file, sizeof file, "%s/no/such/folder.adflow", folder);
    FAILS(ADFLOW_STATUS_IO, "folder.adflow", adflow_model_save(model, file));
    FAILS(ADFLOW_STATUS_IO, "folder.adflow", adflow_model_open(file, &other));
    FAILS(ADFLOW_STATUS_IO, folder, adflow_model_save(model, folder));
    FAILS(ADFLOW_STATUS_NULL, "path", adflow_model_open(NULL, &other));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_open(path, NULL));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_save(NULL, path));
    FAILS(ADFLOW_STATUS_NULL, "info", adflow_model_get_info(model, NULL));
    FAILS(ADFLOW_STATUS_NULL, "value", adflow_model_about(model, "seed", NULL));
    CHECK(other == NULL);
}

static void errors(void)
{
    char text[64];
    size_t length = 0;
    FAILS(ADFLOW_STATUS_NULL, "path is NULL", adflow_model_save(model, NULL));
    CHECK(adflow_last_error_copy(text, sizeof text, &length) == ADFLOW_STATUS_OK);
    CHECK(strcmp(text, "path is NULL") == 0 && length == strlen(text));
    CHECK(adflow_last_error_copy(text, 5, NULL) == ADFLOW_STATUS_OK && strcmp(text, "path") == 0);
    CHECK(adflow_last_error_copy(text, 1, NULL) == ADFLOW_STATUS_OK && strcmp(text, "") == 0);
    CHECK(adflow_last_error_copy(NULL, 0, &length) == ADFLOW_STATUS_OK && length == 12);
    CHECK(score_bits(session, good()) == rgb_bits && strcmp(adflow_last_error(), "path is NULL") == 0);
    FAILS(ADFLOW_STATUS_NULL, "buffer", adflow_last_error_copy(NULL, 5, NULL));

    /* A message that does not fit is cut between characters. */
    char name[3001] = "";
    for (size_t k = 0; k < 1000; k++)
        memcpy(name + 3 * k, "\xe2\x82\xac", 3);
    const char *value;
    FAILS(ADFLOW_STATUS_NOT_FOUND, "\xe2\x82\xac", adflow_model_about(model, name, &value));
    CHECK(strlen(adflow_last_error()) > 900 && strlen(adflow_last_error()) < 1024);
    const char *end = adflow_last_error() + strlen(adflow_last_error()) - 3;
    CHECK(memcmp(end, "\xe2\x82\xac", 3) == 0);

    CHECK(strcmp(adflow_status_text(ADFLOW_STATUS_OK), "done") == 0);
    CHECK(strcmp(adflow_status_text(UINT32_MAX), "unknown status") == 0);
    CHECK(strchr(adflow_version(), '.') != NULL);

    adflow_model_free(NULL);
    adflow_session_free(NULL);
    adflow_trainer_free(NULL);
}

/* Pixels outside a region change nothing. */
static void regions(void)
{
    enum { W = 50, H = 40 };
    static float first[H][W], again[H][W];
    uint8_t *mask = calloc(WIDTH * HEIGHT, 1), *changed = draw(3);
    for (size_t y = 8; y < HEIGHT; y++)
        memset(mask + y * WIDTH + 15, 255, 40);
    adflow_image image = good(), region = describe(mask, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY);
    adflow_result result = {.struct_size = sizeof result};
    adflow_map map = {.struct_size = sizeof map, .width = W, .height = H, .data = &first[0][0]};

    FAILS(ADFLOW_STATUS_ARGUMENT, "whole images", adflow_session_score_within(session, &image, &region, NULL, &result));
    adflow_session *partial;
    adflow_session_options options = {.struct_size = sizeof options, .regions = 1};
    CHECK(adflow_session_new(model, &options, &partial) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_score_within(partial, &image, NULL, NULL, &result) == ADFLOW_STATUS_OK);
    CHECK(bits(result.score) == rgb_bits && score_bits(partial, image) == rgb_bits);

    CHECK(adflow_session_score_within(partial, &image, &region, &map, &result) == ADFLOW_STATUS_OK);
    uint32_t expected = bits(result.score);
    CHECK(expected != rgb_bits && first[0][0] == 0 && first[H - 5][W / 2] > 0);
    image.data = changed, map.data = &again[0][0];
    for (unsigned round = 0; round < 5; round++) {
        for (size_t p = 0; p < WIDTH * HEIGHT; p++)
            for (size_t c = 0; c < 3; c++)
                if (mask[p] == 0)
                    changed[3 * p + c] = (uint8_t)(p * 31 + round * 77 + c * c);
        CHECK(adflow_session_score_within(partial, &image, &region, &map, &result) == ADFLOW_STATUS_OK);
        CHECK(bits(result.score) == expected && memcmp(first, again, sizeof first) == 0);
        CHECK(score_bits(partial, image) != rgb_bits);
    }

    region.height--;
    FAILS(ADFLOW_STATUS_ARGUMENT, "size", adflow_session_score_within(partial, &image, &region, NULL, &result));
    region.height++;
    memset(mask, 0, WIDTH * HEIGHT);
    FAILS(ADFLOW_STATUS_ARGUMENT, "inside", adflow_session_score_within(partial, &image, &region, NULL, &result));
    region.width = 0;
    FAILS(ADFLOW_STATUS_IMAGE, "0x44", adflow_session_score_within(partial, &image, &region, NULL, &result));
    region.width = WIDTH, region.data = NULL;
    FAILS(ADFLOW_STATUS_NULL, "data", adflow_session_score_within(partial, &image, &region, NULL, &result));
    CHECK(bits(result.score) == expected);
    adflow_session_free(partial);
    free(mask), free(changed);
}

int main(int argc, char **argv)
{
    CHECK(argc == 6);
    CHECK(strcmp(adflow_last_error(), "") == 0);
    grey_bits = hex(argv[2]), rgb_bits = hex(argv[3]);
    grey = draw(1), rgb = draw(3);
    CHECK(adflow_model_open(argv[1], &model) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_new(model, NULL, &session) == ADFLOW_STATUS_OK);
    layouts();
    maps(argv[4]);
    regions();
    bad_images();
    sizes();
    models(argv[1], argv[5]);
    errors();
    thresholds();
    adflow_model_free(model);
    CHECK(score_bits(session, good()) == rgb_bits);
    adflow_session_free(session);
    free(grey);
    free(rgb);
    puts("contract holds");
    return 0;
}
