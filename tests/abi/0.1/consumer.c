/* A program that was written, compiled and linked when adflow.h was the one in this folder: consumer MODEL RGB.
 *
 * Its structs are shorter than those of today; behind each lies something that must stay as it is. */
#include "adflow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0x5aa55aa5u

int main(int argc, char **argv)
{
    enum { WIDTH = 60, HEIGHT = 44 };
    struct { adflow_image it; uint32_t guard; } image = {{0}, GUARD};
    struct { adflow_result it; uint32_t guard; } result = {{0}, GUARD};
    struct { adflow_model_info it; uint32_t guard; } info = {{0}, GUARD};
    struct { adflow_session_options it; uint32_t guard; } options = {{0}, GUARD};
    struct { adflow_train_options it; uint32_t guard; } train = {{0}, GUARD};
    adflow_model *model;
    adflow_session *session;
    adflow_trainer *trainer;
    uint32_t bits;
    static uint8_t rgb[HEIGHT][WIDTH][3];
    for (unsigned y = 0; y < HEIGHT; y++)
        for (unsigned x = 0; x < WIDTH; x++)
            for (unsigned c = 0; c < 3; c++)
                rgb[y][x][c] = (uint8_t)(x * x * 3 + y * 7 + c * 31 + x * y);
    if (argc != 3)
        return 2;
    image.it.struct_size = sizeof image.it;
    image.it.channels = ADFLOW_CHANNELS_RGB;
    image.it.width = WIDTH;
    image.it.height = HEIGHT;
    image.it.data = rgb;
    result.it.struct_size = sizeof result.it;
    info.it.struct_size = sizeof info.it;
    options.it.struct_size = sizeof options.it;
    options.it.threads = 2;
    train.it.struct_size = sizeof train.it;
    if (adflow_model_open(argv[1], &model) || adflow_model_get_info(model, &info.it) ||
        adflow_session_new(model, &options.it, &session) ||
        adflow_session_score(session, &image.it, NULL, &result.it) || adflow_trainer_new(&train.it, &trainer) ||
        adflow_trainer_add_image(trainer, &image.it, "part")) {
        fprintf(stderr, "%s\n", adflow_last_error());
        return 1;
    }
    image.it.width = 0;
    if (adflow_session_score(session, &image.it, NULL, &result.it) != ADFLOW_STATUS_IMAGE)
        return 1;
    adflow_trainer_free(trainer);
    adflow_session_free(session);
    adflow_model_free(model);
    memcpy(&bits, &result.it.score, sizeof bits);
    if (bits != (uint32_t)strtoul(argv[2], NULL, 16) || info.it.input_size != 64)
        return 1;
    if (image.guard != GUARD || result.guard != GUARD || info.guard != GUARD || options.guard != GUARD ||
        train.guard != GUARD)
        return 1;
    puts("as ever");
    return 0;
}
