/* Sessions of one model on several threads at once, and one session that two threads fight over.
 *
 *     threads MODEL RGB
 *
 * RGB is the bits of the score of the test image. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 15 };

static uint32_t expected;
static uint8_t *rgb;

static void *own_session(void *argument)
{
    adflow_session *session = argument;
    float map[9][8];
    for (int round = 0; round < ROUNDS; round++) {
        adflow_image image = describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
        adflow_map into = {.struct_size = sizeof into, .width = 8, .height = 9, .data = &map[0][0]};
        adflow_result result = {.struct_size = sizeof result};
        CHECK(adflow_session_score(session, &image, round % 2 ? &into : NULL, &result) == ADFLOW_STATUS_OK);
        CHECK(bits(result.score) == expected);
        /* Each thread has its own message. */
        char name[32], message[64];
        const char *unused;
        snprintf(name, sizeof name, "%p %d", argument, round);
        FAILS(ADFLOW_STATUS_NULL, "model is NULL", adflow_model_about(NULL, name, &unused));
        snprintf(message, sizeof message, "image has %dx0", round + 1);
        image.width = (uint32_t)round + 1, image.height = 0;
        FAILS(ADFLOW_STATUS_IMAGE, message, adflow_session_score(session, &image, NULL, &result));
    }
    adflow_session_free(session);
    return NULL;
}

static void *shared_session(void *argument)
{
    adflow_session *session = argument;
    size_t *scored = calloc(1, sizeof *scored);
    for (int round = 0; round < 8 * ROUNDS; round++) {
        adflow_image image = describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
        adflow_result result = {.struct_size = sizeof result};
        adflow_status status = adflow_session_score(session, &image, NULL, &result);
        CHECK(status == ADFLOW_STATUS_BUSY || (status == ADFLOW_STATUS_OK && bits(result.score) == expected));
        *scored += status == ADFLOW_STATUS_OK;
    }
    return scored;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    adflow_model *model;
    adflow_session *session;
    size_t scored = 0;

    CHECK(argc == 3);
    expected = hex(argv[2]);
    rgb = draw(3);
    CHECK(adflow_model_open(argv[1], &model) == ADFLOW_STATUS_OK);
    for (size_t k = 0; k < THREADS; k++) {
        adflow_session_options options = {.struct_size = sizeof options, .threads = 1 + k % 3};
        CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
        CHECK(pthread_create(&threads[k], NULL, own_session, session) == 0);
    }
    CHECK(adflow_session_new(model, NULL, &session) == ADFLOW_STATUS_OK);
    adflow_model_free(model); /* while its sessions run */
    for (size_t k = 0; k < THREADS; k++)
        CHECK(pthread_join(threads[k], NULL) == 0);

    for (size_t k = 0; k < 2; k++)
        CHECK(pthread_create(&threads[k], NULL, shared_session, session) == 0);
    for (size_t k = 0; k < 2; k++) {
        void *count;
        CHECK(pthread_join(threads[k], &count) == 0);
        scored += *(size_t *)count;
        free(count);
    }
    CHECK(scored > 0);
    adflow_session_free(session);
    free(rgb);
    puts("threads agree");
    return 0;
}
