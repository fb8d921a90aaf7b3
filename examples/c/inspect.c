/* Scores a picture with a trained model, in C11.
 *
 *     inspect MODEL PICTURE.ppm
 *
 * Prints score, verdict and the strangest pixel. PICTURE is a binary PGM or PPM of 8 bits. */
#include "adflow.h"

#include <stdio.h>
#include <stdlib.h>

/* Reads a picture and describes it for adflow; NULL if it is none. The caller frees the pixels. */
static unsigned char *read_picture(const char *path, adflow_image *image)
{
    unsigned char *pixels = NULL;
    char kind = 0;
    unsigned width = 0, height = 0, white = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    if (fscanf(file, "P%c %u %u %u", &kind, &width, &height, &white) == 4 && (kind == '5' || kind == '6') &&
        white < 256 && width - 1 < 65536 && height - 1 < 65536 && fgetc(file) != EOF) {
        size_t bytes = (size_t)width * height * (kind == '6' ? 3 : 1);
        pixels = malloc(bytes);
        if (pixels && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    *image = (adflow_image){
        .struct_size = sizeof *image,
        .samples = ADFLOW_SAMPLES_U8,
        .channels = kind == '6' ? ADFLOW_CHANNELS_RGB : ADFLOW_CHANNELS_GREY,
        .width = width,
        .height = height,
        .white = (float)white,
        .data = pixels,
    };
    return pixels;
}

int main(int argc, char **argv)
{
    static const char *const verdicts[] = {"no threshold", "good", "unsure", "defective"};
    adflow_model *model = NULL;
    adflow_session *session = NULL;
    adflow_result result = {.struct_size = sizeof result};
    adflow_map map = {.struct_size = sizeof map};
    adflow_image image;
    unsigned char *pixels;
    int code = EXIT_FAILURE;

    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL PICTURE\n", argv[0]);
        return code;
    }
    pixels = read_picture(argv[2], &image);
    if (!pixels) {
        fprintf(stderr, "%s: not a binary PGM or PPM of 8 bits\n", argv[2]);
        return code;
    }

    /* A map as large as the picture, so that a pixel of one is a pixel of the other. */
    map.width = image.width;
    map.height = image.height;
    map.data = malloc((size_t)map.width * map.height * sizeof *map.data);

    if (adflow_model_open(argv[1], &model) || adflow_session_new(model, NULL, &session) ||
        adflow_session_score(session, &image, &map, &result)) {
        fprintf(stderr, "%s\n", adflow_last_error());
    } else {
        size_t most = 0;
        for (size_t i = 1; i < (size_t)map.width * map.height; i++)
            if (map.data[i] > map.data[most])
                most = i;
        printf("score %.9g: %s\n", (double)result.score, verdicts[result.verdict]);
        printf("strangest at (%zu, %zu): %.9g\n", most % map.width, most / map.width, (double)map.data[most]);
        code = EXIT_SUCCESS;
    }

    adflow_session_free(session);
    adflow_model_free(model);
    free(map.data);
    free(pixels);
    return code;
}
