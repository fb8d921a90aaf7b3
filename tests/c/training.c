/* Training from C: errors, cancelling, the same bytes for any number of threads and after an interruption.
 *
 *     training FOLDER */
#include "check.h"

#include <math.h>
#include <stddef.h>

enum { SIDE = 40, PARTS = 24 };

static char checkpoint[4096];

static adflow_image part(unsigned number, uint16_t *pixels)
{
    adflow_image image = describe(pixels, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_GREY);
    uint32_t noise = 2654435761u * (number + 1);
    for (unsigned p = 0; p < SIDE * SIDE; p++) {
        noise = noise * 1664525u + 1013904223u;
        pixels[p] = (uint16_t)(2000 + 20 * (p % SIDE) + (noise >> 22) + 9 * number);
    }
    image.white = 4095;
    image.width = image.height = SIDE;
    return image;
}

static adflow_trainer *trainer_with(adflow_train_options options, unsigned parts)
{
    static uint16_t pixels[SIDE * SIDE];
    adflow_trainer *trainer;
    options.struct_size = sizeof options;
    CHECK(adflow_trainer_new(&options, &trainer) == ADFLOW_STATUS_OK);
    for (unsigned k = 0; k < parts; k++) {
        adflow_image image = part(k, pixels);
        CHECK(adflow_trainer_add_image(trainer, &image, NULL) == ADFLOW_STATUS_OK);
    }
    return trainer;
}

struct watch {
    adflow_trainer *trainer;
    unsigned calls, cancel_at_epoch;
};

static int32_t watch(const adflow_progress *progress, void *user_data)
{
    struct watch *w = user_data;
    CHECK(progress->struct_size >= sizeof *progress && progress->phase <= ADFLOW_PHASE_CALIBRATE);
    CHECK(progress->done <= progress->total);
    if (w->calls++ == 0) {
        static uint16_t pixels[SIDE * SIDE];
        adflow_image image = part(0, pixels);
        FAILS(ADFLOW_STATUS_BUSY, "trainer", adflow_trainer_add_image(w->trainer, &image, NULL));
    }
    return w->cancel_at_epoch != 0 && progress->epoch >= w->cancel_at_epoch;
}

/* Trains and gives the bytes of the model; frees trainer and model. */
static unsigned char *train(adflow_trainer *trainer, size_t *length)
{
    struct watch w = {.trainer = trainer};
    adflow_model *model = NULL;
    CHECK(adflow_trainer_run(trainer, watch, &w, &model) == ADFLOW_STATUS_OK);
    CHECK(w.calls > 0);
    CHECK(adflow_model_to_memory(model, NULL, 0, length) == ADFLOW_STATUS_BUFFER_TOO_SMALL);
    unsigned char *bytes = malloc(*length);
    CHECK(adflow_model_to_memory(model, bytes, *length, length) == ADFLOW_STATUS_OK);
    adflow_model_free(model);
    adflow_trainer_free(trainer);
    return bytes;
}

static void same_bytes(adflow_train_options one, adflow_train_options other)
{
    size_t a_length, b_length;
    unsigned char *a = train(trainer_with(one, PARTS), &a_length);
    unsigned char *b = train(trainer_with(other, PARTS), &b_length);
    CHECK(a_length == b_length && memcmp(a, b, a_length) == 0);
    free(a);
    free(b);
}

static void wrong_options(void)
{
    adflow_trainer *trainer = NULL;
    adflow_train_options o = {.struct_size = sizeof o};
    FAILS(ADFLOW_STATUS_NULL, "trainer", adflow_trainer_new(&o, NULL));
    o.method = 99;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_method", adflow_trainer_new(&o, &trainer));
    o.method = 0, o.preset = 3;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_preset", adflow_trainer_new(&o, &trainer));
    o.preset = 0, o.pooling = 3;
    FAILS(ADFLOW_STATUS_ARGUMENT, "adflow_pooling", adflow_trainer_new(&o, &trainer));
    o.pooling = 0, o.resume = 1;
    FAILS(ADFLOW_STATUS_ARGUMENT, "checkpoint", adflow_trainer_new(&o, &trainer));
    o.resume = 0, o.backbone = "/no/such/file.safetensors";
    FAILS(ADFLOW_STATUS_WEIGHTS, "file.safetensors", adflow_trainer_new(&o, &trainer));
    o.backbone = NULL, o.struct_size = 2;
    FAILS(ADFLOW_STATUS_ARGUMENT, "struct_size", adflow_trainer_new(&o, &trainer));
    CHECK(trainer == NULL);
    o.struct_size = 4;
    CHECK(adflow_trainer_new(&o, &trainer) == ADFLOW_STATUS_OK);
    adflow_trainer_free(trainer);
    CHECK(adflow_trainer_new(NULL, &trainer) == ADFLOW_STATUS_OK);
    adflow_trainer_free(trainer);
}

static void wrong_images(void)
{
    adflow_train_options o = {.method = ADFLOW_METHOD_GAUSS, .size = 64};
    adflow_model *model = NULL;
    static float floats[WIDTH * HEIGHT];
    adflow_image image = describe(floats, ADFLOW_SAMPLES_F32, ADFLOW_CHANNELS_GREY);

    adflow_trainer *trainer = trainer_with(o, 2);
    FAILS(ADFLOW_STATUS_TOO_FEW_IMAGES, "found 2", adflow_trainer_run(trainer, NULL, NULL, &model));
    floats[5 * WIDTH + 9] = NAN;
    FAILS(ADFLOW_STATUS_IMAGE, "left.png: pixel (9, 5)", adflow_trainer_add_image(trainer, &image, "left.png"));
    image.width = 0;
    FAILS(ADFLOW_STATUS_IMAGE, "0x44", adflow_trainer_add_image(trainer, &image, NULL));
    FAILS(ADFLOW_STATUS_NULL, "image", adflow_trainer_add_image(trainer, NULL, NULL));
    FAILS(ADFLOW_STATUS_NULL, "trainer", adflow_trainer_add_image(NULL, &image, NULL));
    FAILS(ADFLOW_STATUS_NULL, "image", adflow_trainer_add_defect(trainer, NULL, NULL));
    FAILS(ADFLOW_STATUS_NULL, "trainer", adflow_trainer_add_defect(NULL, &image, NULL));
    FAILS(ADFLOW_STATUS_TOO_FEW_IMAGES, "found 2", adflow_trainer_run(trainer, NULL, NULL, &model));
    FAILS(ADFLOW_STATUS_NULL, "model", adflow_trainer_run(trainer, NULL, NULL, NULL));
    FAILS(ADFLOW_STATUS_NULL, "trainer", adflow_trainer_run(NULL, NULL, NULL, &model));
    adflow_trainer_free(trainer);

    /* All black: nothing to learn, or a model; never a crash. */
    trainer = trainer_with(o, 0);
    floats[5 * WIDTH + 9] = 0;
    image.width = WIDTH;
    for (int k = 0; k < 12; k++)
        CHECK(adflow_trainer_add_image(trainer, &image, NULL) == ADFLOW_STATUS_OK);
    adflow_status status = adflow_trainer_run(trainer, NULL, NULL, &model);
    CHECK(status == ADFLOW_STATUS_TRAINING || status == ADFLOW_STATUS_OK);
    if (status == ADFLOW_STATUS_OK)
        adflow_model_free(model);
    adflow_trainer_free(trainer);

    o.size = 7;
    model = NULL;
    trainer = trainer_with(o, PARTS);
    FAILS(ADFLOW_STATUS_ARGUMENT, "size", adflow_trainer_run(trainer, NULL, NULL, &model));
    adflow_trainer_free(trainer);
    o.size = 64, o.held_out = NAN;
    trainer = trainer_with(o, PARTS);
    FAILS(ADFLOW_STATUS_ARGUMENT, "held-out", adflow_trainer_run(trainer, NULL, NULL, &model));
    adflow_trainer_free(trainer);
    /* The backbone without a file has no positions to take deviations over. */
    o.held_out = 0, o.pooling = ADFLOW_POOLING_STATISTICS;
    trainer = trainer_with(o, PARTS);
    FAILS(ADFLOW_STATUS_ARGUMENT, "statistics pooling", adflow_trainer_run(trainer, NULL, NULL, &model));
    CHECK(model == NULL);
    adflow_trainer_free(trainer);
}

/* Pixels outside the region of interest change no byte of the model. */
static void region(void)
{
    enum { COLUMNS = 28 };
    static uint8_t mask[SIDE * SIDE];
    adflow_image where = describe(mask, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY);
    where.width = where.height = SIDE;
    adflow_train_options o = {.method = ADFLOW_METHOD_GAUSS, .size = 64, .region = &where};
    adflow_trainer *trainer = NULL;
    o.struct_size = sizeof o;
    FAILS(ADFLOW_STATUS_ARGUMENT, "options.region", adflow_trainer_new(&o, &trainer));
    where.height = 0;
    FAILS(ADFLOW_STATUS_IMAGE, "40x0", adflow_trainer_new(&o, &trainer));
    where.height = SIDE;
    for (size_t y = 0; y < SIDE; y++)
        memset(mask + y * SIDE, 255, COLUMNS);
    unsigned char *models[2];
    size_t lengths[2];
    for (unsigned set = 0; set < 2; set++) {
        static uint16_t pixels[SIDE * SIDE];
        trainer = trainer_with(o, 0);
        for (unsigned k = 0; k < PARTS; k++) {
            adflow_image image = part(k, pixels);
            for (size_t p = 0; p < SIDE * SIDE; p++)
                if (p % SIDE >= COLUMNS)
                    pixels[p] = (uint16_t)(set * 1999 + (k * k * p) % 2000);
            CHECK(adflow_trainer_add_image(trainer, &image, NULL) == ADFLOW_STATUS_OK);
        }
        models[set] = train(trainer, &lengths[set]);
    }
    CHECK(lengths[0] == lengths[1] && memcmp(models[0], models[1], lengths[0]) == 0);
    free(models[0]);
    free(models[1]);
}

/* Images in tiles: one plan for a canvas of any shape, a map of that shape, and the same functions as ever. */
static void tiles(void)
{
    adflow_train_options o = {.method = ADFLOW_METHOD_PADIM, .size = 96, .canvas_width = 150, .canvas_height = 90,
                              .margin = 32};
    adflow_model *model = NULL;
    adflow_trainer *trainer = trainer_with(o, PARTS);
    CHECK(adflow_trainer_run(trainer, NULL, NULL, &model) == ADFLOW_STATUS_OK);
    adflow_trainer_free(trainer);
    adflow_model_info info = {.struct_size = sizeof info};
    CHECK(adflow_model_get_info(model, &info) == ADFLOW_STATUS_OK);
    CHECK(info.input_size == 96 && info.canvas_width == 150 && info.canvas_height == 90 && info.tiles == 5 * 3);
    CHECK(info.map_width > info.map_height && info.map_height > 0);
    /* A caller of an older release has no such fields. */
    adflow_model_info old = {.struct_size = offsetof(adflow_model_info, canvas_width)};
    CHECK(adflow_model_get_info(model, &old) == ADFLOW_STATUS_OK && old.canvas_width == 0);

    adflow_session *session = NULL;
    CHECK(adflow_session_new(model, NULL, &session) == ADFLOW_STATUS_OK);
    static uint16_t pixels[SIDE * SIDE];
    static float values[SIDE * SIDE];
    adflow_image image = part(3, pixels);
    adflow_map map = {.struct_size = sizeof map, .width = SIDE, .height = SIDE, .data = values};
    adflow_result good = {.struct_size = sizeof good}, bad = good;
    CHECK(adflow_session_score(session, &image, &map, &good) == ADFLOW_STATUS_OK);
    for (size_t y = 24; y < 30; y++)
        for (size_t x = 8; x < 14; x++)
            pixels[y * SIDE + x] = (uint16_t)(x % 2 * 4000);
    CHECK(adflow_session_score(session, &image, &map, &bad) == ADFLOW_STATUS_OK);
    CHECK(bad.score > good.score);
    size_t peak = 0;
    for (size_t p = 0; p < SIDE * SIDE; p++)
        if (values[p] > values[peak])
            peak = p;
    /* Steps of this small canvas lie 9 by 14 pixels of the image apart. */
    CHECK(peak / SIDE > 12 && peak % SIDE < 20 && values[0] < values[peak] / 2);
    adflow_session_free(session);
    adflow_model_free(model);

    o.canvas_height = 0;
    o.struct_size = sizeof o;
    FAILS(ADFLOW_STATUS_ARGUMENT, "canvas", adflow_trainer_new(&o, &trainer));
    o.canvas_height = 90;
    o.method = ADFLOW_METHOD_GAUSS;
    trainer = trainer_with(o, PARTS);
    FAILS(ADFLOW_STATUS_ARGUMENT, "tiles", adflow_trainer_run(trainer, NULL, NULL, &model));
    adflow_trainer_free(trainer);
}

static int exists(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file)
        fclose(file);
    return file != NULL;
}

static void cancel_and_resume(void)
{
    adflow_train_options o = {.method = ADFLOW_METHOD_CDNF, .size = 64, .epochs = 3, .views = 2, .seed = 5,
                              .threads = 1, .held_out = 0.2};
    size_t whole_length, resumed_length;
    unsigned char *whole = train(trainer_with(o, PARTS), &whole_length);

    o.checkpoint = checkpoint;
    adflow_trainer *trainer = trainer_with(o, PARTS);
    struct watch w = {.trainer = trainer, .cancel_at_epoch = 1};
    adflow_model *model = NULL;
    FAILS(ADFLOW_STATUS_CANCELLED, "cancelled", adflow_trainer_run(trainer, watch, &w, &model));
    CHECK(model == NULL && exists(checkpoint));
    adflow_trainer_free(trainer);

    /* Other images do not go with it. */
    o.resume = 1;
    trainer = trainer_with(o, PARTS - 1);
    FAILS(ADFLOW_STATUS_CHECKPOINT, "checkpoint", adflow_trainer_run(trainer, NULL, NULL, &model));
    adflow_trainer_free(trainer);

    o.threads = 3;
    unsigned char *resumed = train(trainer_with(o, PARTS), &resumed_length);
    CHECK(whole_length == resumed_length && memcmp(whole, resumed, whole_length) == 0);
    CHECK(!exists(checkpoint));
    free(whole);
    free(resumed);

    o.checkpoint = "/no/such/folder/checkpoint";
    trainer = trainer_with(o, PARTS);
    FAILS(ADFLOW_STATUS_IO, "/no/such/folder", adflow_trainer_run(trainer, NULL, NULL, &model));
    adflow_trainer_free(trainer);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    snprintf(checkpoint, sizeof checkpoint, "%s/training.ckpt", argv[1]);
    wrong_options();
    wrong_images();
    adflow_train_options one = {.method = ADFLOW_METHOD_GAUSS, .size = 64, .threads = 1, .seed = 3};
    adflow_train_options three = one;
    three.threads = 3;
    same_bytes(one, three);
    region();
    tiles();
    cancel_and_resume();
    puts("training holds");
    return 0;
}
