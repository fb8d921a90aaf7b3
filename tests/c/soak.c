/* Many scores on one session: the same bits, and no growth of resident memory. Linux.
 *
 *     soak SCORES
 *
 * The model is a very small one that is trained here. */
#include "check.h"

static long resident_kib(void)
{
    long kib = -1;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    CHECK(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %ld kB", &kib) == 1)
            break;
    fclose(file);
    CHECK(kib > 0);
    return kib;
}

int main(int argc, char **argv)
{
    adflow_train_options train = {.struct_size = sizeof train, .method = ADFLOW_METHOD_GAUSS, .size = 32, .views = 1,
                                  .no_map = 1};
    adflow_trainer *trainer;
    adflow_model *model;
    adflow_session *session;
    adflow_session_options options = {.struct_size = sizeof options, .threads = 1};
    uint8_t *grey = draw(1);
    adflow_image image = describe(grey, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_GREY);
    CHECK(argc == 2);
    image.width = image.height = 16; /* small, so that many take little time */
    image.row_stride = WIDTH;
    long scores = strtol(argv[1], NULL, 10), before = 0;
    CHECK(adflow_trainer_new(&train, &trainer) == ADFLOW_STATUS_OK);
    for (size_t part = 0; part < 12; part++) {
        for (size_t p = 0; p < WIDTH * HEIGHT; p++)
            grey[p] = (uint8_t)(grey[p] * 5 + p * part);
        CHECK(adflow_trainer_add_image(trainer, &image, NULL) == ADFLOW_STATUS_OK);
    }
    CHECK(adflow_trainer_run(trainer, NULL, NULL, &model) == ADFLOW_STATUS_OK);
    adflow_trainer_free(trainer);
    CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
    uint32_t expected = score_bits(session, image);
    CHECK(resident_kib() > 0); /* what reading it needs is there from now on */
    for (long k = 0; k < scores; k++) {
        CHECK(score_bits(session, image) == expected);
        if (k == scores / 10)
            before = resident_kib();
    }
    long after = resident_kib();
    printf("%ld scores: resident %ld KiB, then %ld KiB\n", scores, before, after);
    CHECK(after <= before);
    adflow_session_free(session);
    adflow_model_free(model);
    free(grey);
    puts("no growth");
    return 0;
}
