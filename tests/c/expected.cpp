// adflow.hpp without exceptions: results that may hold a status instead; spans where the standard library has them.
//
//     expected MODEL RGB FOLDER
#define ADFLOW_NO_EXCEPTIONS
#include "adflow.hpp"
#include "check.hpp"

#include <cstring>

int main(int, char **argv) {
    constexpr std::uint32_t width = 60, height = 44;
    std::vector<std::uint8_t> rgb(std::size_t{3} * width * height);
    for (std::size_t y = 0; y < height; y++)
        for (std::size_t x = 0; x < width; x++)
            for (std::size_t c = 0; c < 3; c++)
                rgb[(y * width + x) * 3 + c] = static_cast<std::uint8_t>(x * x * 3 + y * 7 + c * 31 + x * y);
    const auto expected = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 16));
    const auto bits = [](float value) {
        std::uint32_t word;
        std::memcpy(&word, &value, sizeof word);
        return word;
    };

    adflow::Expected<adflow::Model> none = adflow::Model::try_open("/no/such/file");
    CHECK(!none && none.status() == ADFLOW_STATUS_IO);
    CHECK(adflow::Model::try_from_memory(rgb.data(), 9).status() == ADFLOW_STATUS_MODEL);
    adflow::Expected<adflow::Model> model = adflow::Model::try_open(argv[1]);
    CHECK(model);
    adflow::SessionOptions options;
    options.regions = 1;
    adflow::Expected<adflow::Session> session = adflow::Session::try_make(*model, options);
    CHECK(session.has_value());
    adflow::Image image(rgb.data(), width, height, ADFLOW_CHANNELS_RGB);
    adflow::Expected<adflow::Result> result = session->try_score(image);
    CHECK(result && bits(result->score) == expected);
    std::vector<float> values(20);
    CHECK(bits(session->try_score(image, {values.data(), 5, 4})->score) == expected);
    adflow::Region everything = adflow::Region::rectangle(0, 0, width, height);
    image.region = &everything;
    CHECK(bits(session->try_score(image)->score) == expected);
    image.height = 0;
    CHECK(session->try_score(image).status() == ADFLOW_STATUS_IMAGE);
    CHECK(session->last_error().find("60x0") != std::string::npos);
#ifdef ADFLOW_HAS_SPAN
    std::span<const std::uint8_t> pixels(rgb);
    CHECK(bits(session->try_score({pixels, width, height, ADFLOW_CHANNELS_RGB})->score) == expected);
    CHECK(session->try_score({pixels.first(9), width, height, ADFLOW_CHANNELS_RGB}).status() == ADFLOW_STATUS_NULL);
    CHECK(bits(session->try_score({rgb.data(), width, height, ADFLOW_CHANNELS_RGB}, {std::span(values), 5, 4})->score) ==
          expected);
    std::puts("with spans");
#endif
    std::puts("expected holds");
}
