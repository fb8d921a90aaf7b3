/* Scoring allocates nothing: this program brings its own malloc, which counts. glibc only.
 *
 *     no_alloc MODEL RGB */
#include "check.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <threads.h>
#include <time.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *old);

static atomic_long calls;

void *malloc(size_t size)
{
    calls++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    calls++;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    calls++;
    return __libc_realloc(old, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
    calls++;
    *result = __libc_memalign(alignment, size);
    return *result ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    calls++;
    return __libc_memalign(alignment, size);
}

void free(void *old)
{
    calls++;
    __libc_free(old);
}

int main(int argc, char **argv)
{
    adflow_model *model;
    adflow_session *session;
    adflow_session_options options = {.struct_size = sizeof options, .threads = 2, .regions = 1};
    static float values[33][21];
    static uint8_t mask[WIDTH * HEIGHT];
    adflow_image region = describe(mask, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY);
    memset(mask, 255, sizeof mask / 2);
    CHECK(argc == 3);
    uint32_t expected = hex(argv[2]);
    uint8_t *rgb = draw(3);
    CHECK(adflow_model_open(argv[1], &model) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
    CHECK(calls > 0);

    /* A new thread allocates while it starts: wait for it. */
    struct timespec start = {.tv_nsec = 300 * 1000 * 1000};
    CHECK(score_bits(session, describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB)) == expected);
    thrd_sleep(&start, NULL);
    CHECK(score_bits(session, describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB)) == expected);

    calls = 0;
    for (int round = 0; round < 5; round++) {
        adflow_image image = describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
        adflow_map map = {.struct_size = sizeof map, .width = 21, .height = 33, .data = &values[0][0]};
        adflow_result result = {.struct_size = sizeof result};
        CHECK(adflow_session_score_within(session, &image, &region, &map, &result) == ADFLOW_STATUS_OK);
        CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
        CHECK(bits(result.score) == expected);
        CHECK(adflow_session_score(session, &image, &map, &result) == ADFLOW_STATUS_OK);
        CHECK(bits(result.score) == expected);
        /* Failures too. */
        image.white = NAN;
        CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_IMAGE);
        CHECK(adflow_last_error()[0] != 0);
    }
    long counted = calls;
    if (counted != 0) {
        fprintf(stderr, "scoring called the allocator %ld times\n", counted);
        return 1;
    }
    adflow_session_free(session);
    adflow_model_free(model);
    free(rgb);
    puts("nothing allocated");
    return 0;
}
