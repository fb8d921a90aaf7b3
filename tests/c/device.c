/* GPUs from C: which there are, a session and a training on one, and what is refused.
 *
 *     device MODEL RGB
 *
 * RGB is the bits of the CPU's score of the test image. Without a Vulkan driver only the refusals are tried. */
#include "check.h"

#include <math.h>

int main(int argc, char **argv)
{
    adflow_model *model, *trained;
    adflow_session *session = NULL;
    adflow_trainer *trainer = NULL;
    adflow_device_description info = {.struct_size = sizeof info};
    adflow_session_options options = {.struct_size = sizeof options};
    adflow_train_options train = {.struct_size = sizeof train, .method = ADFLOW_METHOD_GAUSS, .size = 32};
    uint32_t count = 77, word;
    float expected;
    uint8_t *rgb = draw(3);

    CHECK(argc == 3);
    word = hex(argv[2]);
    memcpy(&expected, &word, sizeof expected);
    CHECK(adflow_model_open(argv[1], &model) == ADFLOW_STATUS_OK);

    CHECK(adflow_device_count(&count) == ADFLOW_STATUS_OK && count != 77);
    FAILS(ADFLOW_STATUS_NULL, "count is NULL", adflow_device_count(NULL));
    FAILS(ADFLOW_STATUS_NULL, "info is NULL", adflow_device_info(0, NULL));
    FAILS(ADFLOW_STATUS_NOT_FOUND, "devices", adflow_device_info(count, &info));
    options.device = "cuda";
    FAILS(ADFLOW_STATUS_ARGUMENT, "unknown device \"cuda\"", adflow_session_new(model, &options, &session));
    options.device = "vulkan:no such card";
    FAILS(ADFLOW_STATUS_DEVICE, "Vulkan", adflow_session_new(model, &options, &session));
    train.device = "vulkan:9999";
    FAILS(ADFLOW_STATUS_DEVICE, "Vulkan", adflow_trainer_new(&train, &trainer));
    CHECK(!session && !trainer);

    /* Always there. */
    options.device = "cpu";
    CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
    CHECK(score_bits(session, describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB)) == word);
    adflow_session_free(session);

    for (uint32_t k = 0; k < count; k++) {
        char name[24];
        adflow_image image = describe(rgb, ADFLOW_SAMPLES_U8, ADFLOW_CHANNELS_RGB);
        adflow_result result = {.struct_size = sizeof result};
        snprintf(name, sizeof name, "vulkan:%u", k);
        CHECK(adflow_device_info(k, &info) == ADFLOW_STATUS_OK);
        CHECK(info.name[0] && strlen(info.uuid) == 32 && info.memory > 0);
        options.device = name;
        CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
        for (int again = 0; again < 2; again++) {
            CHECK(adflow_session_score(session, &image, NULL, &result) == ADFLOW_STATUS_OK);
            CHECK(fabsf(result.score - expected) <= 1e-3f * fabsf(expected));
        }
        adflow_session_free(session);

        train.device = name;
        CHECK(adflow_trainer_new(&train, &trainer) == ADFLOW_STATUS_OK);
        for (int part = 0; part < 8; part++) {
            rgb[part] ^= 0x55;
            CHECK(adflow_trainer_add_image(trainer, &image, NULL) == ADFLOW_STATUS_OK);
        }
        CHECK(adflow_trainer_run(trainer, NULL, NULL, &trained) == ADFLOW_STATUS_OK);
        adflow_trainer_free(trainer);
        adflow_model_free(trained);
    }
    adflow_model_free(model);
    free(rgb);
    printf("%u devices, device holds\n", count);
    return 0;
}
