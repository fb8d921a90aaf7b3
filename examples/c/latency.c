/* How long a score takes on this machine, in C11 with POSIX threads.
 *
 *     latency MODEL [SCORES [SESSIONS]]
 *
 * Scores an image of the model's size SCORES times (2000) on one session and prints percentiles; then SESSIONS sessions
 * (8), each on a thread of its own, share as many scores, and it prints how much faster they are together. Every score
 * must have the same bits. Sessions have one thread each.
 *
 * What else runs on the machine shows in the slowest scores. A loop of plain arithmetic that takes about as long is
 * timed in between, one for one: the percentiles that it has, the machine has. */
#define _POSIX_C_SOURCE 200809L
#include "adflow.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static adflow_image image;

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Arithmetic on a few registers. */
static void spin(size_t rounds)
{
    volatile float result;
    float x = 0.5f;
    for (size_t k = 0; k < rounds; k++)
        x = x * 0.999f + 0.001f;
    result = x;
    (void)result;
}

/* Rounds of spin that take this long. */
static size_t rounds_of(double wanted)
{
    for (size_t rounds = 1000;; rounds *= 2) {
        double start = milliseconds();
        spin(rounds);
        double taken = milliseconds() - start;
        if (taken > wanted / 4)
            return (size_t)((double)rounds * wanted / taken) + 1;
    }
}

/* One camera: a session, how often it scores, and what came of it. */
struct camera {
    adflow_session *session;
    size_t scores;
    double *times;  /* NULL: not wanted */
    double *spins;  /* Times of the loop in between; NULL: none */
    size_t rounds;  /* of that loop */
    float score;
    int agrees;
};

static void *score(void *argument)
{
    struct camera *camera = argument;
    camera->agrees = 1;
    for (size_t k = 0; k < camera->scores; k++) {
        adflow_result result = {.struct_size = sizeof result};
        double start = milliseconds();
        if (adflow_session_score(camera->session, &image, NULL, &result) != ADFLOW_STATUS_OK) {
            fprintf(stderr, "%s\n", adflow_last_error());
            camera->agrees = 0;
            break;
        }
        if (camera->times)
            camera->times[k] = milliseconds() - start;
        if (camera->spins) {
            start = milliseconds();
            spin(camera->rounds);
            camera->spins[k] = milliseconds() - start;
        }
        if (k == 0)
            camera->score = result.score;
        camera->agrees &= memcmp(&camera->score, &result.score, sizeof result.score) == 0;
    }
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The shortest time that this share of the sorted times does not exceed. */
static double percentile(const double *times, size_t count, double share)
{
    size_t rank = (size_t)(share * (double)count);
    return times[rank < count ? rank : count - 1];
}

static void print_percentiles(const char *what, double *times, size_t count)
{
    qsort(times, count, sizeof *times, by_time);
    double p50 = percentile(times, count, 0.5), p999 = percentile(times, count, 0.999);
    printf("%s p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms (%.2f of p50), worst %.3f ms\n", what, p50,
           percentile(times, count, 0.99), p999, p999 / p50, times[count - 1]);
}

int main(int argc, char **argv)
{
    size_t scores = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000, sessions = argc > 3 ? strtoul(argv[3], NULL, 10) : 8;
    adflow_model *model = NULL;
    adflow_model_info info = {.struct_size = sizeof info};
    adflow_session_options options = {.struct_size = sizeof options, .threads = 1, .no_map = 1};
    if (argc < 2 || argc > 4 || scores < 1 || scores > 10000000 || sessions < 1 || sessions > 256) {
        fprintf(stderr, "usage: %s MODEL [SCORES [SESSIONS]]\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (adflow_model_open(argv[1], &model) != ADFLOW_STATUS_OK ||
        adflow_model_get_info(model, &info) != ADFLOW_STATUS_OK) {
        fprintf(stderr, "%s\n", adflow_last_error());
        return EXIT_FAILURE;
    }

    /* How long it takes does not depend on what is in the picture. */
    uint32_t width = info.canvas_width ? info.canvas_width : info.input_size;
    uint32_t height = info.canvas_height ? info.canvas_height : info.input_size;
    size_t bytes = (size_t)width * height * 3;
    unsigned char *pixels = malloc(bytes);
    double *times = malloc(scores * sizeof *times), *spins = malloc(scores * sizeof *spins);
    struct camera *cameras = calloc(sessions, sizeof *cameras);
    pthread_t *threads = calloc(sessions, sizeof *threads);
    if (!pixels || !times || !spins || !cameras || !threads)
        return EXIT_FAILURE;
    for (size_t k = 0; k < bytes; k++)
        pixels[k] = (unsigned char)((k * UINT32_C(2654435761) & UINT32_MAX) >> 24);
    image = (adflow_image){.struct_size = sizeof image,
                           .channels = ADFLOW_CHANNELS_RGB,
                           .width = width,
                           .height = height,
                           .data = pixels};
    for (size_t k = 0; k < sessions; k++)
        if (adflow_session_new(model, &options, &cameras[k].session) != ADFLOW_STATUS_OK) {
            fprintf(stderr, "%s\n", adflow_last_error());
            return EXIT_FAILURE;
        }

    /* The first scores touch memory for the first time and say how long they take. */
    struct camera alone = {.session = cameras[0].session, .scores = 1 + scores / 20};
    score(&alone);
    double start = milliseconds();
    score(&alone);
    alone.rounds = rounds_of((milliseconds() - start) / (double)alone.scores);
    int agree = alone.agrees;
    alone.scores = scores;
    alone.times = times;
    alone.spins = spins;
    score(&alone);
    agree &= alone.agrees;
    double one = 0;
    for (size_t k = 0; k < scores; k++)
        one += times[k] / (double)scores;
    print_percentiles("one session:", times, scores);
    print_percentiles("a loop:     ", spins, scores);

    size_t each = (scores + sessions - 1) / sessions, started = 0;
    start = milliseconds();
    for (; started < sessions; started++) {
        cameras[started].scores = each;
        if (pthread_create(&threads[started], NULL, score, &cameras[started]) != 0)
            break;
    }
    for (size_t k = 0; k < started; k++)
        pthread_join(threads[k], NULL);
    double together = (milliseconds() - start) / (double)(each * sessions);
    for (size_t k = 0; k < sessions; k++)
        agree &= cameras[k].agrees && memcmp(&cameras[k].score, &alone.score, sizeof alone.score) == 0;
    printf("%zu sessions: %.3f ms a score, %.2f times as many as one\n", sessions, together, one / together);
    puts(agree ? "all scores agree" : "scores differ");

    for (size_t k = 0; k < sessions; k++)
        adflow_session_free(cameras[k].session);
    adflow_model_free(model);
    free(pixels), free(times), free(spins), free(cameras), free(threads);
    return agree ? EXIT_SUCCESS : EXIT_FAILURE;
}
