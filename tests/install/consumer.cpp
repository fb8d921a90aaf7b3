// Scores the test picture with what is installed: consumer MODEL.
#include <adflow.hpp>

#include <cstdio>
#include <cstring>
#include <vector>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    const std::uint32_t width = 60, height = 44;
    std::vector<std::uint8_t> rgb;
    for (std::size_t y = 0; y < height; y++)
        for (std::size_t x = 0; x < width; x++)
            for (std::size_t c = 0; c < 3; c++)
                rgb.push_back(static_cast<std::uint8_t>(x * x * 3 + y * 7 + c * 31 + x * y));
    adflow::Session session(adflow::Model::open(argv[1]));
    float score = session.score({rgb.data(), width, height, ADFLOW_CHANNELS_RGB}).score;
    std::uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    std::printf("adflow %s: %08x\n", adflow_version(), bits);
}
