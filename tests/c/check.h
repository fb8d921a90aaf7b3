/* What the C tests share: CHECK, and images whose samples are known to the Rust side too (`pixels` in programs.rs). */
#ifndef CHECK_H
#define CHECK_H

#include "adflow.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,                 \
                    adflow_last_error());                                                                    \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* The call gives this status, and the message has this text in it. */
#define FAILS(status, text, call)                                                                            \
    do {                                                                                                     \
        adflow_status found_ = (call);                                                                       \
        if (found_ != (status) || !strstr(adflow_last_error(), (text))) {                                    \
            fprintf(stderr, "%s:%d: %s\n  gave %d \"%s\"\n  expected %d with \"%s\"\n", __FILE__, __LINE__,  \
                    #call, (int)found_, adflow_last_error(), (int)(status), (text));                         \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

enum { WIDTH = 60, HEIGHT = 44 };

static inline uint8_t pixel(size_t x, size_t y, size_t c)
{
    return (uint8_t)(x * x * 3 + y * 7 + c * 31 + x * y);
}

/* WIDTHxHEIGHT, channels side by side, no padding. */
static inline uint8_t *draw(size_t channels)
{
    uint8_t *pixels = malloc(WIDTH * HEIGHT * channels);
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t x = 0; x < WIDTH; x++)
            for (size_t c = 0; c < channels; c++)
                pixels[(y * WIDTH + x) * channels + c] = pixel(x, y, c);
    return pixels;
}

static inline adflow_image describe(const void *data, adflow_samples samples, adflow_channels channels)
{
    adflow_image image = {.struct_size = sizeof image,
                          .samples = samples,
                          .channels = channels,
                          .width = WIDTH,
                          .height = HEIGHT,
                          .data = data};
    return image;
}

static inline uint32_t bits(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

/* Bits of the score; the call must succeed. */
static inline uint32_t score_bits(adflow_session *session, adflow_image image)
{
    adflow_result result = {.struct_size = sizeof result};
    CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
    return bits(result.score);
}

static inline uint32_t hex(const char *text) { return (uint32_t)strtoul(text, NULL, 16); }

#endif
