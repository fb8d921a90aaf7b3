// Trains a detector on good parts, saves it, opens it again and inspects parts with it, in C++17.
//
//     train_and_inspect MODEL.adflow
//
// The parts are drawn here, so that nothing but adflow is needed: brushed metal, of which the bad ones have a scratch.
#include "adflow.hpp"

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

constexpr std::uint32_t side = 96;

static std::vector<std::uint8_t> draw_part(unsigned number, bool scratched) {
    std::mt19937 random(number);
    auto noise = [&] { return static_cast<double>(random() % 1000) / 1000.0; };
    std::vector<std::uint8_t> pixels;
    double light = 110 + 10 * noise(), phase = 6 * noise();
    for (std::uint32_t y = 0; y < side; y++) {
        double brush = 12 * noise();
        for (std::uint32_t x = 0; x < side; x++) {
            double value = light + 25 * std::sin(x * 0.15 + phase) + brush + 8 * noise();
            if (scratched && x > 30 && x < 70 && (x + y) % side < 3) value = 240;
            pixels.push_back(static_cast<std::uint8_t>(value));
        }
    }
    return pixels;
}

int main(int argc, char **argv) try {
    const char *path = argc > 1 ? argv[1] : "part.adflow";

    adflow::TrainOptions options;
    options.method = ADFLOW_METHOD_GAUSS; // seconds; ADFLOW_METHOD_CDNF is better and takes minutes
    options.size = 96;
    options.held_out = 0.3;

    adflow::Trainer trainer(options);
    for (unsigned i = 0; i < 40; i++) trainer.add({draw_part(i, false).data(), side, side});
    trainer.run([](const adflow_progress &p) {
        std::fprintf(stderr, "\rphase %u: %llu of %llu ", p.phase, static_cast<unsigned long long>(p.done),
                     static_cast<unsigned long long>(p.total));
        return true; // false cancels
    }).save(path);
    std::fputs("\n", stderr);

    adflow::Session session(adflow::Model::open(path));
    for (bool scratched : {false, true}) {
        std::vector<std::uint8_t> part = draw_part(1000, scratched);
        adflow::Result result = session.score({part.data(), side, side});
        const char *verdict = result.verdict == ADFLOW_VERDICT_DEFECTIVE ? "defective" : "good";
        std::printf("%s part: score %.6g, limit %.6g: %s\n", scratched ? "scratched" : "good",
                    static_cast<double>(result.score), static_cast<double>(result.reject), verdict);
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
