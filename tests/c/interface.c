/* What adflow.h promises about regions in an image, the caller's allocator, the log, messages of handles, and input that
 * makes no sense.
 *
 *     interface MODEL RGB DEBUG
 *
 * RGB is the bits of the score of the test image; DEBUG is 1 for a library that was built for debugging. */
#include "check.h"

#include <pthread.h>

static adflow_model *model;
static adflow_session *session;
static uint32_t rgb_bits;
static uint8_t *rgb;

static adflow_image good(void) { return describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB); }

static uint32_t score_of(const adflow_image *image)
{
    adflow_result result = {.struct_size = sizeof result};
    CHECK(adflow_session_score(session, image, NULL, &result) == ADFLOW_STATUS_OK);
    return bits(result.score);
}

/* One region as a rectangle, as runs and as a mask gives one score. */
static void regions(void)
{
    enum { LEFT = 15, TOP = 8, COLUMNS = 40, ROWS = HEIGHT - TOP };
    static uint8_t pixels[WIDTH * HEIGHT];
    static adflow_run runs[2 * ROWS];
    for (size_t y = TOP; y < HEIGHT; y++)
        memset(pixels + y * WIDTH + LEFT, 255, COLUMNS);
    adflow_image mask = describe(pixels, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY), image = good();
    adflow_result result = {.struct_size = sizeof result};
    CHECK(adflow_session_score_within(session, &image, &mask, NULL, &result) == ADFLOW_STATUS_OK);
    uint32_t expected = bits(result.score);
    CHECK(expected != rgb_bits);

    adflow_region region = {.struct_size = sizeof region, .kind = ADFLOW_REGION_KIND_MASK, .mask = &mask};
    image.region = &region;
    CHECK(score_of(&image) == expected);
    region = (adflow_region){.struct_size = sizeof region, .x = LEFT, .y = TOP, .width = COLUMNS, .height = ROWS};
    CHECK(score_of(&image) == expected);
    region.height = UINT32_MAX; /* beyond the image */
    CHECK(score_of(&image) == expected);
    for (int32_t y = 0; y < ROWS; y++) {
        runs[2 * y] = (adflow_run){.row = TOP + y, .first = LEFT, .last = LEFT + 9};
        runs[2 * y + 1] = (adflow_run){.row = TOP + y, .first = LEFT + 10, .last = LEFT + COLUMNS - 1};
    }
    region = (adflow_region){.struct_size = sizeof region, .kind = ADFLOW_REGION_KIND_RUNS, .runs = runs,
                             .run_count = 2 * ROWS};
    CHECK(score_of(&image) == expected);
    region = (adflow_region){.struct_size = sizeof region, .x = -5, .y = -5, .width = WIDTH + 9, .height = HEIGHT + 9};
    CHECK(score_of(&image) == rgb_bits);

    /* Refused. */
    CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_ARGUMENT, "both region and image.region", adflow_session_score_within(session, &image, &mask, NULL, &result));
    adflow_image plain = good();
    FAILS(ADFLOW_STATUS_ARGUMENT, "cannot have a region itself",
          adflow_session_score_within(session, &plain, &image, NULL, &result));
    region.width = 0;
    FAILS(ADFLOW_STATUS_ARGUMENT, "0x53", adflow_session_score(session, &image, NULL, &result));
    region.width = 1, region.x = WIDTH;
    FAILS(ADFLOW_STATUS_ARGUMENT, "inside", adflow_session_score(session, &image, NULL, &result));
    region.kind = 3;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_region_kind", adflow_session_score(session, &image, NULL, &result));
    region.kind = ADFLOW_REGION_KIND_MASK;
    FAILS(ADFLOW_STATUS_NULL, "mask", adflow_session_score(session, &image, NULL, &result));
    region.kind = ADFLOW_REGION_KIND_RUNS, region.run_count = 2;
    FAILS(ADFLOW_STATUS_NULL, "runs", adflow_session_score(session, &image, NULL, &result));
    region.run_count = SIZE_MAX, region.runs = runs;
    FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_session_score(session, &image, NULL, &result));
    region.run_count = 0;
    FAILS(ADFLOW_STATUS_ARGUMENT, "inside", adflow_session_score(session, &image, NULL, &result));
    region.run_count = 2, runs[1] = runs[0];
    FAILS(ADFLOW_STATUS_ARGUMENT, "order", adflow_session_score(session, &image, NULL, &result));
    region.struct_size = 5;
    FAILS(ADFLOW_STATUS_ARGUMENT, "struct_size", adflow_session_score(session, &image, NULL, &result));

    adflow_trainer *trainer;
    CHECK(adflow_trainer_new(NULL, &trainer) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_ARGUMENT, "options.region", adflow_trainer_add_image(trainer, &image, NULL));
    adflow_trainer_free(trainer);
    /* Training takes a region in any form; a session without regions takes none. */
    region = (adflow_region){.struct_size = sizeof region, .x = 1, .y = 1, .width = 9, .height = 9};
    adflow_train_options train = {.struct_size = sizeof train, .region = &image};
    CHECK(adflow_trainer_new(&train, &trainer) == ADFLOW_STATUS_OK);
    adflow_trainer_free(trainer);
    adflow_session *without;
    CHECK(adflow_session_new(model, NULL, &without) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_ARGUMENT, "whole images", adflow_session_score(without, &image, NULL, &result));
    adflow_session_free(without);
}

struct arena {
    unsigned char *memory;
    size_t size, alive, calls, wrong;
};

static void *take(size_t bytes, size_t alignment, void *user_data)
{
    struct arena *arena = user_data;
    arena->calls++;
    if (bytes > arena->size)
        return NULL;
    arena->alive += bytes;
    return arena->memory + (alignment - (uintptr_t)arena->memory % alignment) % alignment + arena->wrong;
}

static void give(void *memory, size_t bytes, size_t alignment, void *user_data)
{
    struct arena *arena = user_data;
    CHECK(memory && alignment > 0);
    arena->alive -= bytes;
}

static void allocators(void)
{
    adflow_session_options options = {.struct_size = sizeof options, .threads = 1};
    uint64_t bytes = 0, fewer = 0;
    CHECK(adflow_session_memory(model, &options, &bytes) == ADFLOW_STATUS_OK && bytes > 0);
    options.no_map = 1;
    CHECK(adflow_session_memory(model, &options, &fewer) == ADFLOW_STATUS_OK && fewer < bytes);
    CHECK(adflow_session_memory(model, NULL, &fewer) == ADFLOW_STATUS_OK && fewer > 0);
    FAILS(ADFLOW_STATUS_NULL, "bytes", adflow_session_memory(model, NULL, NULL));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_session_memory(NULL, NULL, &fewer));
    options.max_width = UINT32_MAX;
    CHECK(adflow_session_memory(model, &options, &fewer) == ADFLOW_STATUS_OK && fewer > bytes);
    options = (adflow_session_options){.struct_size = sizeof options, .threads = 1};

    struct arena arena = {.memory = malloc(bytes + 128), .size = bytes};
    adflow_allocator allocator = {.struct_size = sizeof allocator, .allocate = take, .release = give,
                                  .user_data = &arena};
    adflow_session *own = NULL;
    memset(arena.memory, 0xA5, bytes + 128);
    options.allocator = &allocator;
    CHECK(adflow_session_new(model, &options, &own) == ADFLOW_STATUS_OK);
    CHECK(arena.calls == 1 && arena.alive == bytes);
    memset(&allocator, 0, sizeof allocator); /* it was copied */
    CHECK(score_bits(own, good()) == rgb_bits && arena.calls == 1);
    adflow_session_free(own);
    CHECK(arena.alive == 0);

    allocator = (adflow_allocator){.struct_size = sizeof allocator, .allocate = take, .user_data = &arena};
    CHECK(adflow_session_new(model, &options, &own) == ADFLOW_STATUS_OK);
    adflow_session_free(own);
    CHECK(arena.alive == bytes); /* never taken back */
    allocator.release = give, arena.alive = 0, own = NULL;
    arena.wrong = 4;
    FAILS(ADFLOW_STATUS_ARGUMENT, "aligned", adflow_session_new(model, &options, &own));
    CHECK(arena.alive == 0);
    arena.size = bytes - 1;
    FAILS(ADFLOW_STATUS_OUT_OF_MEMORY, "bytes", adflow_session_new(model, &options, &own));
    allocator.allocate = NULL;
    FAILS(ADFLOW_STATUS_NULL, "allocate", adflow_session_new(model, &options, &own));
    allocator.struct_size = 0;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_allocator", adflow_session_new(model, &options, &own));
    CHECK(own == NULL && arena.alive == 0);
    free(arena.memory);
}

struct heard {
    unsigned messages, errors;
    char last[256];
};

static void listen(uint32_t level, const char *message, void *user_data)
{
    struct heard *heard = user_data;
    heard->messages++;
    heard->errors += level == ADFLOW_LOG_LEVEL_ERROR;
    snprintf(heard->last, sizeof heard->last, "%s", message);
    /* It may call adflow, whose complaints are then not logged, but not replace itself. */
    adflow_model *none;
    CHECK(adflow_model_open("/no/such/file", &none) == ADFLOW_STATUS_IO);
    CHECK(adflow_set_log(0, NULL, NULL) == ADFLOW_STATUS_BUSY);
}

static void logging(const char *path)
{
    struct heard heard = {0};
    adflow_model *other;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_log_level", adflow_set_log(4, listen, &heard));
    CHECK(adflow_set_log(ADFLOW_LOG_LEVEL_INFO, listen, &heard) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_open(path, &other) == ADFLOW_STATUS_OK);
    adflow_model_free(other);
    CHECK(heard.messages == 1 && heard.errors == 0 && strstr(heard.last, path));
    CHECK(adflow_model_save(model, NULL) == ADFLOW_STATUS_NULL);
    CHECK(heard.messages == 2 && heard.errors == 1 && strcmp(heard.last, "path is NULL") == 0);
    CHECK(adflow_set_log(ADFLOW_LOG_LEVEL_ERROR, listen, &heard) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_open(path, &other) == ADFLOW_STATUS_OK && heard.messages == 2);
    adflow_model_free(other);
    CHECK(adflow_set_log(ADFLOW_LOG_LEVEL_NONE, listen, &heard) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_save(model, NULL) == ADFLOW_STATUS_NULL && heard.messages == 2);
    CHECK(adflow_set_log(ADFLOW_LOG_LEVEL_INFO, NULL, NULL) == ADFLOW_STATUS_OK);
    CHECK(adflow_model_save(model, NULL) == ADFLOW_STATUS_NULL && heard.messages == 2);
}

static void *fail_elsewhere(void *argument)
{
    adflow_image image = good();
    adflow_result result = {.struct_size = sizeof result};
    image.width = 0;
    CHECK(adflow_session_score(argument, &image, NULL, &result) == ADFLOW_STATUS_IMAGE);
    return NULL;
}

/* The message of a handle is there for every thread, that of a thread only for itself. */
static void messages(void)
{
    char text[200];
    size_t length = 7;
    pthread_t thread;
    adflow_session *own;
    adflow_trainer *trainer;
    CHECK(adflow_session_new(model, NULL, &own) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_error_copy(own, text, sizeof text, &length) == ADFLOW_STATUS_OK);
    CHECK(length == 0 && text[0] == 0);
    FAILS(ADFLOW_STATUS_NULL, "path is NULL", adflow_model_save(model, NULL));
    CHECK(pthread_create(&thread, NULL, fail_elsewhere, own) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(adflow_session_error_copy(own, text, sizeof text, &length) == ADFLOW_STATUS_OK);
    CHECK(strstr(text, "0x44") && length == strlen(text) && strcmp(adflow_last_error(), "path is NULL") == 0);
    CHECK(adflow_model_error_copy(model, text, 5, &length) == ADFLOW_STATUS_OK);
    CHECK(strcmp(text, "path") == 0 && length == 12);
    CHECK(adflow_trainer_new(NULL, &trainer) == ADFLOW_STATUS_OK);
    CHECK(adflow_trainer_add_image(trainer, NULL, NULL) == ADFLOW_STATUS_NULL);
    CHECK(adflow_trainer_error_copy(trainer, text, sizeof text, NULL) == ADFLOW_STATUS_OK);
    CHECK(strcmp(text, "image is NULL") == 0);
    FAILS(ADFLOW_STATUS_NULL, "buffer", adflow_trainer_error_copy(trainer, NULL, 3, NULL));
    FAILS(ADFLOW_STATUS_NULL, "trainer", adflow_trainer_error_copy(NULL, text, 3, NULL));
    FAILS(ADFLOW_STATUS_NULL, "session", adflow_session_error_copy(NULL, text, 3, NULL));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_error_copy(NULL, text, 3, NULL));
    adflow_trainer_free(trainer);
    adflow_session_free(own);
}

/* What is written may not lie in what is read, nor in what else is written. */
static void overlaps(void)
{
    static union {
        float values[WIDTH * HEIGHT];
        adflow_result result;
        uint8_t pixels[sizeof(float) * WIDTH * HEIGHT];
    } shared;
    adflow_image image = describe(shared.pixels, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
    adflow_map map = {.struct_size = sizeof map, .width = WIDTH, .height = HEIGHT, .data = shared.values};
    adflow_result result = {.struct_size = sizeof result, .score = 42};
    memcpy(shared.pixels, rgb, 3 * WIDTH * HEIGHT);
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_session_score(session, &image, &map, &result));
    CHECK(memcmp(shared.pixels, rgb, 3 * WIDTH * HEIGHT) == 0 && result.score == 42);
    map.height = 1, map.data = shared.values + WIDTH * HEIGHT - WIDTH; /* behind the pixels */
    CHECK(adflow_session_score(session, &image, &map, &result) == ADFLOW_STATUS_OK);
    CHECK(bits(result.score) == rgb_bits);
    map.height = 2, map.row_stride = -(ptrdiff_t)(WIDTH * (HEIGHT - 1) * sizeof(float));
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_session_score(session, &image, &map, &result));
    shared.result = (adflow_result){.struct_size = sizeof result};
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_session_score(session, &image, NULL, &shared.result));
    image = good(), map.data = shared.values, map.row_stride = 0;
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_session_score(session, &image, &map, &shared.result));
    size_t room[8] = {0};
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_model_to_memory(model, room, sizeof room, &room[3]));
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap",
          adflow_last_error_copy((char *)room, sizeof room, &room[3]));
    const char *text;
    FAILS(ADFLOW_STATUS_ARGUMENT, "overlap", adflow_model_about_at(model, 0, &text, &text));
}

/* 2^31 of anything. */
static void huge(void)
{
    const uint32_t big = UINT32_C(1) << 31;
    adflow_result result = {.struct_size = sizeof result};
    for (int k = 0; k < 6; k++) {
        adflow_image image = good();
        if (k % 3 != 1)
            image.width = big;
        if (k % 3 != 0)
            image.height = big;
        if (k >= 3)
            image.samples = ADFLOW_SAMPLES_F32, image.data = &image;
        /* A plausible picture of 2 GiB lies in somebody's address space, so width alone says whether it is refused; where
         * the result happens to lie inside it, that is said. */
        if (image.width == big) {
            adflow_status status = adflow_session_score(session, &image, NULL, &result);
            CHECK(status == ADFLOW_STATUS_IMAGE || status == ADFLOW_STATUS_ARGUMENT);
        }
        float value = -7;
        image = good();
        adflow_map map = {.struct_size = sizeof map, .width = big, .height = big, .data = &value,
                          .row_stride = k % 2 ? PTRDIFF_MAX / 4 * 4 : 0};
        FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_session_score(session, &image, &map, &result));
        CHECK(value == -7);
    }
    adflow_model *none = NULL;
    FAILS(ADFLOW_STATUS_ARGUMENT, "memory", adflow_model_from_memory(rgb, SIZE_MAX / 2 + 1, &none));
    adflow_trainer *trainer = NULL;
    adflow_train_options train = {.struct_size = sizeof train, .threads = big};
    CHECK(adflow_trainer_new(&train, &trainer) == ADFLOW_STATUS_OK);
    FAILS(ADFLOW_STATUS_ARGUMENT, "threads", adflow_trainer_run(trainer, NULL, NULL, &none));
    adflow_trainer_free(trainer);
    CHECK(none == NULL);
    adflow_device_description device = {.struct_size = sizeof device};
    FAILS(ADFLOW_STATUS_NOT_FOUND, "devices", adflow_device_info(big, &device));
    const char *key, *value;
    FAILS(ADFLOW_STATUS_NOT_FOUND, "keys", adflow_model_about_at(model, SIZE_MAX, &key, &value));
}

/* A wrong struct_size in every struct that a program fills in. */
static void sizes(void)
{
    const uint32_t wrong[] = {0, 3, 4097, UINT32_MAX};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        adflow_session *none = NULL;
        adflow_trainer *trainer = NULL;
        adflow_session_options session_options = {.struct_size = wrong[k]};
        adflow_train_options train_options = {.struct_size = wrong[k]};
        adflow_threshold threshold = {.struct_size = wrong[k]};
        adflow_model_info info = {.struct_size = wrong[k]};
        adflow_device_description device = {.struct_size = wrong[k]};
        uint64_t bytes;
        FAILS(ADFLOW_STATUS_ARGUMENT, "session_options", adflow_session_new(model, &session_options, &none));
        FAILS(ADFLOW_STATUS_ARGUMENT, "session_options", adflow_session_memory(model, &session_options, &bytes));
        FAILS(ADFLOW_STATUS_ARGUMENT, "train_options", adflow_trainer_new(&train_options, &trainer));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_threshold", adflow_model_get_threshold(model, &threshold));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_threshold", adflow_model_set_threshold(model, &threshold));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_threshold", adflow_session_set_threshold(session, &threshold));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_threshold", adflow_model_calibrate(model, 0.1, 0.9, 0, &threshold));
        FAILS(ADFLOW_STATUS_ARGUMENT, "model_info", adflow_model_get_info(model, &info));
        FAILS(ADFLOW_STATUS_ARGUMENT, "description", adflow_device_info(0, &device));
        adflow_image image = good();
        adflow_result result = {.struct_size = sizeof result};
        adflow_trainer *real;
        image.struct_size = wrong[k];
        CHECK(adflow_trainer_new(NULL, &real) == ADFLOW_STATUS_OK);
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_image", adflow_trainer_add_image(real, &image, NULL));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_image", adflow_trainer_add_defect(real, &image, NULL));
        FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_image", adflow_session_score(session, &image, NULL, &result));
        adflow_trainer_free(real);
        CHECK(!none && !trainer);
    }
}

/* Every pointer that must not be NULL, where no other test has it. */
static void nulls(void)
{
    adflow_threshold t = {.struct_size = sizeof t};
    adflow_model_info info = {.struct_size = sizeof info};
    adflow_result result = {.struct_size = sizeof result};
    adflow_image image = good();
    const char *text;
    size_t length;
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_get_info(NULL, &info));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_get_threshold(NULL, &t));
    FAILS(ADFLOW_STATUS_NULL, "threshold", adflow_model_get_threshold(model, NULL));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_set_threshold(NULL, &t));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_calibrate(NULL, 0.1, 0.9, 0, &t));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_to_memory(NULL, NULL, 0, &length));
    FAILS(ADFLOW_STATUS_NULL, "length", adflow_model_to_memory(model, NULL, 0, NULL));
    FAILS(ADFLOW_STATUS_NULL, "buffer", adflow_model_to_memory(model, NULL, 9, &length));
    FAILS(ADFLOW_STATUS_NULL, "key", adflow_model_about(model, NULL, &text));
    FAILS(ADFLOW_STATUS_NULL, "key", adflow_model_about_at(model, 0, NULL, &text));
    FAILS(ADFLOW_STATUS_NULL, "value", adflow_model_about_at(model, 0, &text, NULL));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_about_at(NULL, 0, &text, &text));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_model_from_memory(rgb, 9, NULL));
    FAILS(ADFLOW_STATUS_NULL, "session", adflow_session_set_threshold(NULL, &t));
    FAILS(ADFLOW_STATUS_NULL, "session", adflow_session_score_within(NULL, &image, NULL, NULL, &result));
    FAILS(ADFLOW_STATUS_NULL, "image", adflow_session_score_within(session, NULL, NULL, NULL, &result));
    FAILS(ADFLOW_STATUS_NULL, "result", adflow_session_score_within(session, &image, NULL, NULL, NULL));
}

/* A library built for debugging knows which handles are alive. */
static void freed(int debug)
{
    if (!debug)
        return;
    adflow_session *old;
    adflow_image image = good();
    adflow_result result = {.struct_size = sizeof result, .score = 42};
    CHECK(adflow_session_new(model, NULL, &old) == ADFLOW_STATUS_OK);
    adflow_session_free(old);
    FAILS(ADFLOW_STATUS_HANDLE, "session", adflow_session_score(old, &image, NULL, &result));
    FAILS(ADFLOW_STATUS_HANDLE, "session", adflow_session_set_deadline(old, 3));
    adflow_session_free(old); /* twice: nothing happens */
    CHECK(strstr(adflow_last_error(), "adflow_session"));
    FAILS(ADFLOW_STATUS_HANDLE, "model", adflow_session_new((adflow_model *)session, NULL, &old));
    FAILS(ADFLOW_STATUS_HANDLE, "trainer", adflow_trainer_add_image((adflow_trainer *)model, &image, NULL));
    adflow_model_free((adflow_model *)session);
    CHECK(result.score == 42 && score_of(&image) == rgb_bits);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    rgb_bits = hex(argv[2]);
    rgb = draw(3);
    CHECK(adflow_model_open(argv[1], &model) == ADFLOW_STATUS_OK);
    adflow_session_options options = {.struct_size = sizeof options, .regions = 1};
    CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
    regions();
    allocators();
    logging(argv[1]);
    messages();
    overlaps();
    huge();
    sizes();
    nulls();
    freed(argv[3][0] == '1');
    adflow_image image = good();
    CHECK(score_of(&image) == rgb_bits);
    adflow_session_free(session);
    adflow_model_free(model);
    free(rgb);
    puts("interface holds");
    return 0;
}
