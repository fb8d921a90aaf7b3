// adflow.hpp: owners, exceptions, callbacks, and anything that looks like a cv::Mat.
//
//     wrapper MODEL RGB FOLDER
#include "check.hpp"
#include "adflow.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace {

// The members of cv::Mat that count, with its habit of making `step` a class.
struct Mat {
    struct Step {
        std::size_t bytes;
        operator std::size_t() const { return bytes; }
    };
    int rows, cols;
    unsigned char *data;
    Step step;
    int type_depth, type_channels;
    int depth() const { return type_depth; }
    int channels() const { return type_channels; }
};

constexpr std::uint32_t width = 60, height = 44;

std::vector<unsigned char> draw_bgr(std::size_t row_bytes) {
    std::vector<unsigned char> pixels(row_bytes * height, 99);
    for (std::size_t y = 0; y < height; y++)
        for (std::size_t x = 0; x < width; x++)
            for (std::size_t c = 0; c < 3; c++)
                pixels[y * row_bytes + 3 * x + 2 - c] = static_cast<unsigned char>(x * x * 3 + y * 7 + c * 31 + x * y);
    return pixels;
}

std::uint32_t bits(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return word;
}

template <class Body>
adflow_status status_of(Body body) {
    try {
        body();
    } catch (const adflow::error &error) {
        CHECK(std::strlen(error.what()) > 0);
        return error.status();
    }
    return ADFLOW_STATUS_OK;
}

void scoring(const char *path, std::uint32_t expected) {
    adflow::Model model = adflow::Model::open(path);
    adflow::Session first(model);
    adflow::Session session = std::move(first);
    constexpr std::size_t row_bytes = 3 * width + 21;
    std::vector<unsigned char> pixels = draw_bgr(row_bytes);

    adflow::Image image(pixels.data(), width, height, ADFLOW_CHANNELS_BGR, row_bytes);
    CHECK(bits(session.score(image).score) == expected);
    CHECK(bits(session.score({pixels.data(), width, height, ADFLOW_CHANNELS_BGR, row_bytes}).score) == expected);

    Mat mat{height, width, pixels.data(), {row_bytes}, 0, 3};
    std::vector<float> values(width * height, -7.0f);
    Mat map{height, width, reinterpret_cast<unsigned char *>(values.data()), {sizeof(float) * width}, 5, 1};
    CHECK(bits(session.score(mat).score) == expected);
    CHECK(bits(session.score(mat, map).score) == expected);
    for (float value : values) CHECK(value >= 0);
    CHECK(bits(session.score(image, {values.data(), 5, 4}).score) == expected);
    adflow::SessionOptions with_regions;
    with_regions.regions = 1;
    adflow::Session partial(model, with_regions);
    std::vector<std::uint8_t> white(std::size_t{width} * height, 255);
    adflow::Image everywhere(white.data(), width, height);
    CHECK(bits(partial.score_within(image, everywhere).score) == expected);
    CHECK(bits(partial.score_within(image, everywhere, {values.data(), 5, 4}).score) == expected);

    adflow::Result result;
    CHECK(session.try_score(image, nullptr, result) == ADFLOW_STATUS_OK && bits(result.score) == expected);
    image.width = 0;
    CHECK(session.try_score(image, nullptr, result) == ADFLOW_STATUS_IMAGE && bits(result.score) == expected);
    CHECK(status_of([&] { session.score(image); }) == ADFLOW_STATUS_IMAGE);
    bool refused = false;
    try {
        mat.type_depth = 6; // CV_64F
        session.score(mat);
    } catch (const std::invalid_argument &) {
        refused = true;
    }
    CHECK(refused);

    std::vector<std::uint8_t> bytes = model.to_memory();
    adflow::Model copy = adflow::Model::from_memory(bytes.data(), bytes.size());
    CHECK(copy.to_memory() == bytes);
    CHECK(model.info().input_size == 64 && model.about("method") == "gauss" && !model.about("colour"));
    CHECK(status_of([&] { adflow::Model::from_memory(bytes.data(), 9); }) == ADFLOW_STATUS_MODEL);
    CHECK(status_of([&] { adflow::Model::open("/no/such/file"); }) == ADFLOW_STATUS_IO);

    adflow::Threshold threshold = model.calibrate(0.1, 0.5);
    threshold.reject = 0;
    model.set_threshold(threshold);
    CHECK(model.threshold() && bits(model.threshold()->reject) == 0);
    mat.type_depth = 0;
    CHECK(adflow::Session(model).score(mat).verdict == ADFLOW_VERDICT_DEFECTIVE);
    session.set_threshold(std::nullopt);
    CHECK(session.score(mat).verdict == ADFLOW_VERDICT_NONE);
    model.set_threshold(std::nullopt);
    CHECK(!model.threshold());
}

void training(const std::string &folder) {
    adflow::TrainOptions options;
    options.method = ADFLOW_METHOD_GAUSS;
    options.size = 64;
    adflow::Trainer trainer(options);
    std::vector<std::uint16_t> part(50 * 30);
    std::uint32_t noise = 1;
    for (int k = 0; k < 15; k++) {
        for (std::uint16_t &sample : part) sample = static_cast<std::uint16_t>((noise = noise * 1664525u + 1013904223u) >> 16);
        trainer.add({part.data(), 50, 30});
    }
    CHECK(status_of([&] { trainer.run([](const adflow_progress &) { return false; }); }) == ADFLOW_STATUS_CANCELLED);
    bool passed_on = false;
    try {
        trainer.run([](const adflow_progress &) -> bool { throw 42; });
    } catch (int thrown) {
        passed_on = thrown == 42;
    }
    CHECK(passed_on);
    int calls = 0;
    adflow::Model model = trainer.run([&](const adflow_progress &) { return ++calls > 0; });
    CHECK(calls > 0);
    CHECK(trainer.run().to_memory() == model.to_memory());
    model.save(folder + "/wrapper.adflow");
    float score = adflow::Session(model).score({part.data(), 50, 30}).score;
    float again = adflow::Session(adflow::Model::open(folder + "/wrapper.adflow")).score({part.data(), 50, 30}).score;
    CHECK(bits(score) == bits(again));
}

static_assert(!std::is_copy_constructible_v<adflow::Model> && std::is_nothrow_move_constructible_v<adflow::Model>);
static_assert(!std::is_copy_constructible_v<adflow::Session> && std::is_nothrow_move_constructible_v<adflow::Session>);
static_assert(!std::is_copy_constructible_v<adflow::Trainer> && std::is_nothrow_move_constructible_v<adflow::Trainer>);

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 4);
    scoring(argv[1], static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 16)));
    training(argv[3]);
    std::puts("wrapper holds");
}
