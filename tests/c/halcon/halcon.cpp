// The HALCON package of examples/halcon against a stand-in for HALCON (double.hpp).
//
//     halcon DEF PACKAGE MODEL RGB GREY FOLDER
//
// DEF and PACKAGE are adflow.def and the compiled package; RGB and GREY are the bits of the scores of the pictures of check.h. What
// the package gives is compared with the C ABI called by hand.
#include "../check.hpp"
#include "double.hpp"

#include "adflow.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

namespace {

using halcon::Channel;
using halcon::ObjectPtr;
using halcon::Outcome;
using halcon::Tuple;

constexpr int width = 60, height = 44;
constexpr std::size_t pixels = static_cast<std::size_t>(width) * height;

std::uint32_t bits(double value) {
    const float single = static_cast<float>(value);
    std::uint32_t word;
    CHECK(static_cast<double>(single) == value);
    std::memcpy(&word, &single, sizeof word);
    return word;
}

std::uint8_t pixel(std::size_t x, std::size_t y, std::size_t c) {
    return static_cast<std::uint8_t>(x * x * 3 + y * 7 + c * 31 + x * y);
}

// A channel of the picture; other kinds have its values times `scale`.
template <class Sample>
Channel channel(int kind, std::size_t c, double scale = 1) {
    std::vector<Sample> samples;
    for (std::size_t y = 0; y < height; y++)
        for (std::size_t x = 0; x < width; x++) samples.push_back(static_cast<Sample>(pixel(x, y, c) * scale));
    const auto *first = reinterpret_cast<const std::uint8_t *>(samples.data());
    return {kind, std::vector<std::uint8_t>(first, first + samples.size() * sizeof(Sample))};
}

template <class Sample = std::uint8_t>
ObjectPtr colour(int kind = BYTE_IMAGE, double scale = 1) {
    return halcon::image(width, height,
                         {channel<Sample>(kind, 0, scale), channel<Sample>(kind, 1, scale), channel<Sample>(kind, 2, scale)});
}

template <class Sample = std::uint8_t>
ObjectPtr grey(int kind = BYTE_IMAGE, double scale = 1) {
    return halcon::image(width, height, {channel<Sample>(kind, 0, scale)});
}

std::vector<std::uint8_t> mask_of(const halcon::Object &object) {
    std::vector<std::uint8_t> mask(pixels, object.complement ? 255 : 0);
    for (const Hrun &run : object.domain)
        for (int x = run.cb; x <= run.ce; x++)
            if (run.l >= 0 && run.l < height && x >= 0 && x < width)
                mask[static_cast<std::size_t>(run.l * width + x)] = object.complement ? 0 : 255;
    return mask;
}

// The C ABI by hand, on a copy without planes: interleaved samples.
struct ByHand {
    adflow_model *model = nullptr;
    adflow_session *session = nullptr;

    explicit ByHand(const char *path) {
        adflow_session_options options{};
        options.struct_size = sizeof options;
        options.regions = 1;
        CHECK(adflow_model_open(path, &model) == ADFLOW_STATUS_OK);
        CHECK(adflow_session_new(model, &options, &session) == ADFLOW_STATUS_OK);
    }
    ~ByHand() {
        adflow_session_free(session);
        adflow_model_free(model);
    }

    // The score, and the map at the image's size.
    std::uint32_t score(const halcon::Object &object, bool within, float white, std::vector<float> *map) const {
        const std::size_t channels = object.channels.size(), size = object.channels[0].bytes.size() / pixels;
        std::vector<std::uint8_t> interleaved(pixels * channels * size), mask = mask_of(object);
        for (std::size_t i = 0; i < pixels; i++)
            for (std::size_t c = 0; c < channels; c++)
                std::memcpy(&interleaved[(i * channels + c) * size], &object.channels[c].bytes[i * size], size);
        adflow_image image{}, region{};
        image.struct_size = region.struct_size = sizeof image;
        image.samples = size == 1 ? ADFLOW_SAMPLES_U8 : size == 2 ? ADFLOW_SAMPLES_U16 : ADFLOW_SAMPLES_F32;
        image.channels = channels == 3 ? ADFLOW_CHANNELS_RGB : ADFLOW_CHANNELS_GREY;
        image.width = region.width = width;
        image.height = region.height = height;
        image.white = white;
        image.data = interleaved.data();
        region.data = mask.data();
        map->assign(pixels, -1);
        adflow_map to{};
        to.struct_size = sizeof to;
        to.width = width;
        to.height = height;
        to.data = map->data();
        adflow_result result{};
        result.struct_size = sizeof result;
        CHECK((within ? adflow_session_score_within(session, &image, &region, &to, &result)
                      : adflow_session_score(session, &image, &to, &result)) == ADFLOW_STATUS_OK);
        return bits(static_cast<double>(result.score));
    }
};

double number(const Outcome &outcome, std::size_t tuple, std::size_t at = 0) {
    CHECK(outcome.code == H_MSG_TRUE);
    return std::get<double>(outcome.tuples[tuple].at(at));
}

bool refused(const Outcome &outcome, const char *says) {
    if (outcome.code == H_MSG_TRUE || outcome.text.find(says) == std::string::npos)
        std::fprintf(stderr, "code %u: %s\n", outcome.code, outcome.text.c_str());
    return outcome.code > 10000 && outcome.text.find(says) != std::string::npos && outcome.objects.empty() &&
           outcome.tuples.empty();
}

Tuple read(const halcon::Package &package, const std::string &path) {
    const Outcome outcome = package.call("read_adflow_model", {}, {{path}});
    if (outcome.code != H_MSG_TRUE) std::fprintf(stderr, "%s\n", outcome.text.c_str());
    CHECK(outcome.code == H_MSG_TRUE);
    return outcome.tuples[0];
}

// Scores and anomaly images of every type are those of the C ABI.
void images(const halcon::Package &package, const char *path, std::uint32_t rgb_bits, std::uint32_t grey_bits) {
    const Tuple model = read(package, path);
    const ByHand by_hand(path);
    const std::vector<ObjectPtr> all = {colour(),
                                        grey(),
                                        colour<std::uint16_t>(UINT2_IMAGE, 257),
                                        grey<std::uint16_t>(UINT2_IMAGE, 100),
                                        colour<float>(FLOAT_IMAGE),
                                        grey<float>(FLOAT_IMAGE)};
    const Outcome applied = package.call("apply_adflow_model", {all}, {model});
    const Outcome scored = package.call("score_adflow_model", {all}, {model});
    CHECK(applied.code == H_MSG_TRUE && applied.objects[0].size() == all.size());
    CHECK(applied.tuples[0].size() == all.size() && applied.tuples[1].size() == all.size());
    for (std::size_t i = 0; i < all.size(); i++) {
        std::vector<float> map;
        const bool real = all[i]->channels[0].kind == FLOAT_IMAGE;
        const std::uint32_t score = by_hand.score(*all[i], false, real ? 255.0f : 0.0f, &map);
        const halcon::Object &strange = *applied.objects[0][i];
        CHECK(bits(number(applied, 0, i)) == score && bits(number(scored, 0, i)) == score);
        CHECK(applied.tuples[1][i] == scored.tuples[1][i]);
        CHECK(strange.channels.size() == 1 && strange.channels[0].kind == FLOAT_IMAGE);
        CHECK(strange.width == width && strange.height == height && mask_of(strange) == std::vector<std::uint8_t>(pixels, 255));
        CHECK(!std::memcmp(strange.channels[0].bytes.data(), map.data(), pixels * sizeof(float)));
    }
    CHECK(bits(number(applied, 0, 0)) == rgb_bits && bits(number(applied, 0, 1)) == grey_bits);
    // A byte image as reals is the same picture.
    CHECK(bits(number(applied, 0, 4)) == rgb_bits && bits(number(applied, 0, 5)) == grey_bits);
    CHECK(package.call("score_adflow_model", {{}}, {model}).tuples[0].empty());
}

// Domains are regions: runs, holes, parts outside, complements.
void domains(const halcon::Package &package, const char *path) {
    const Tuple model = read(package, path);
    const ByHand by_hand(path);
    std::vector<std::vector<Hrun>> regions(3);
    for (int y = 4; y < 40; y++) regions[0].push_back({y, 6, 50});
    for (int y = 0; y < height; y++) {
        regions[1].push_back({y, 0, 20});
        regions[1].push_back({y, 30, width - 1});
    }
    // A disc that lies partly outside, with a hole.
    for (int y = -8; y < 40; y++) {
        const int half = static_cast<int>(std::sqrt(24.0 * 24.0 - (y - 16.0) * (y - 16.0)));
        regions[2].push_back({y, 12 - half, y == 10 ? 8 : 12 + half});
        if (y == 10) regions[2].push_back({y, 14, 12 + half});
    }
    for (const std::vector<Hrun> &region : regions) {
        for (const bool complement : {false, true}) {
            ObjectPtr image = colour();
            image->domain = region;
            image->complement = complement;
            std::vector<float> map;
            const std::uint32_t score = by_hand.score(*image, true, 0, &map);
            const Outcome applied = package.call("apply_adflow_model", {{image}}, {model});
            CHECK(bits(number(applied, 0)) == score);
            const halcon::Object &strange = *applied.objects[0][0];
            CHECK(strange.domain.size() == region.size() && strange.complement == complement);
            CHECK(!std::memcmp(strange.channels[0].bytes.data(), map.data(), pixels * sizeof(float)));
            // What is outside changes nothing.
            const std::vector<std::uint8_t> mask = mask_of(*image);
            std::size_t outside = 0;
            for (std::size_t i = 0; i < pixels; i++)
                if (mask[i] == 0) {
                    outside++;
                    for (Channel &of : image->channels) of.bytes[i] ^= 0xff;
                }
            CHECK(outside > 0 && bits(number(package.call("score_adflow_model", {{image}}, {model}), 0)) == score);
        }
    }
    // The whole image as more runs than rows is still the whole image.
    ObjectPtr whole = colour();
    whole->domain.clear();
    for (int y = 0; y < height; y++) {
        whole->domain.push_back({y, 0, 9});
        whole->domain.push_back({y, 10, width - 1});
    }
    CHECK(bits(number(package.call("score_adflow_model", {{whole}}, {model}), 0)) ==
          bits(number(package.call("score_adflow_model", {{colour()}}, {model}), 0)));
    whole->domain.clear();
    CHECK(refused(package.call("apply_adflow_model", {{whole}}, {model}), "region"));
}

void parameters(const halcon::Package &package, const char *path) {
    const Tuple model = read(package, path);
    auto get = [&](const char *name) { return package.call("get_adflow_model_param", {}, {model, {std::string(name)}}); };
    auto set = [&](const char *name, halcon::Value value) {
        return package.call("set_adflow_model_param", {}, {model, {std::string(name)}, {value}});
    };
    auto verdict = [&] {
        return std::get<std::string>(package.call("score_adflow_model", {{colour()}}, {model}).tuples[1][0]);
    };
    CHECK(std::get<std::string>(get("method").tuples[0][0]) == "gauss");
    CHECK(std::get<std::string>(get("backbone").tuples[0][0]) == "builtin");
    CHECK(std::get<std::string>(get("device").tuples[0][0]) == "cpu");
    CHECK(std::get<INT4_8>(get("input_size").tuples[0][0]) == 64);
    CHECK(number(get("map_limit"), 0) > number(get("map_typical"), 0));
    CHECK(number(get("confidence"), 0) > 0);
    const double own = number(get("threshold"), 0);
    const std::uint32_t score = bits(number(package.call("score_adflow_model", {{colour()}}, {model}), 0));
    CHECK(set("threshold", 1e30).code == H_MSG_TRUE && verdict() == "good");
    CHECK(set("threshold", INT4_8{-1}).code == H_MSG_TRUE && verdict() == "defective");
    CHECK(number(get("threshold"), 0) == -1 && own != -1);
    CHECK(set("num_threads", INT4_8{1}).code == H_MSG_TRUE);
    CHECK(set("device", std::string("cpu")).code == H_MSG_TRUE);
    CHECK(bits(number(package.call("score_adflow_model", {{colour()}}, {model}), 0)) == score);
    // Reals from 0 to 1.
    CHECK(set("white", 1.0).code == H_MSG_TRUE);
    const ByHand by_hand(path);
    std::vector<float> map;
    ObjectPtr unit = colour<float>(FLOAT_IMAGE, 1 / 255.0);
    CHECK(bits(number(package.call("score_adflow_model", {{unit}}, {model}), 0)) == by_hand.score(*unit, false, 1, &map));

    CHECK(refused(get("speed"), "'speed'"));
    CHECK(refused(set("speed", 9.0), "'speed'"));
    CHECK(refused(set("num_threads", 1.5), "'num_threads'"));
    CHECK(refused(set("num_threads", INT4_8{-1}), "'num_threads'"));
    CHECK(refused(set("threshold", std::string("high")), "'threshold'"));
    CHECK(refused(set("threshold", std::nan("")), ""));
    CHECK(refused(set("white", -1.0), "'white'"));
    CHECK(set("device", std::string("vulkan:no-such-card")).code == H_MSG_TRUE);
    CHECK(refused(package.call("score_adflow_model", {{colour()}}, {model}), "no-such-card"));
}

void mistakes(const halcon::Package &package, const char *path) {
    const Tuple model = read(package, path);
    CHECK(refused(package.call("read_adflow_model", {}, {{std::string("/no/such.adflow")}}), "/no/such.adflow"));
    CHECK(refused(package.call("write_adflow_model", {}, {model, {std::string("/no/such/folder/m")}}), "/no/such/folder/m"));
    const ObjectPtr two = halcon::image(width, height, {channel<std::uint8_t>(BYTE_IMAGE, 0), channel<std::uint8_t>(BYTE_IMAGE, 1)});
    const ObjectPtr signed16 = grey<std::int16_t>(INT2_IMAGE);
    ObjectPtr mixed = colour();
    mixed->channels[1] = channel<std::uint16_t>(UINT2_IMAGE, 1);
    ObjectPtr not_finite = grey<float>(FLOAT_IMAGE);
    const float nan = std::nanf("");
    std::memcpy(&not_finite->channels[0].bytes[400], &nan, sizeof nan);
    for (const char *op : {"apply_adflow_model", "score_adflow_model"}) {
        // The first image is fine: what it gave must be gone.
        CHECK(refused(package.call(op, {{grey(), two}}, {model}), "image 2 has 2 channels"));
        CHECK(refused(package.call(op, {{colour(), signed16}}, {model}), "byte, uint2 or real"));
        CHECK(refused(package.call(op, {{grey(), mixed}}, {model}), "one size and one type"));
        CHECK(refused(package.call(op, {{grey(), not_finite}}, {model}), ""));
    }
    // HALCON itself stops wrong types, and handles of others do not pass.
    CHECK(package.call("score_adflow_model", {{grey()}}, {{INT4_8{5}}}).code == 1201);
    static const HHandleInfo of_others = {77, "of_others", nullptr};
    const auto alien = std::make_shared<halcon::Handle>(&of_others);
    CHECK(package.call("score_adflow_model", {{grey()}}, {{alien}}).code == 1201);

    // Cleared while a copy of the handle is still there.
    const Tuple copy = model;
    CHECK(package.call("clear_adflow_model", {}, {model}).code == H_MSG_TRUE);
    CHECK(refused(package.call("score_adflow_model", {{grey()}}, {copy}), "cleared"));
    CHECK(refused(package.call("get_adflow_model_param", {}, {copy, {std::string("method")}}), "cleared"));
    CHECK(package.call("clear_adflow_model", {}, {copy}).code == H_MSG_TRUE);
}

void threads(const halcon::Package &package, const char *path, std::uint32_t rgb) {
    const Tuple model = read(package, path);
    CHECK(package.call("set_adflow_model_param", {}, {model, {std::string("num_threads")}, {INT4_8{1}}}).code == H_MSG_TRUE);
    std::vector<std::thread> all;
    for (int t = 0; t < 4; t++)
        all.emplace_back([&, t] {
            for (int i = 0; i < 12; i++) {
                const char *op = (i + t) % 3 ? "score_adflow_model" : "apply_adflow_model";
                CHECK(bits(number(package.call(op, {{colour()}}, {model}), 0)) == rgb);
                if (t == 0 && i % 4 == 0)
                    CHECK(package.call("set_adflow_model_param", {}, {model, {std::string("threshold")}, {1.0 * i}}).code ==
                          H_MSG_TRUE);
            }
        });
    for (std::thread &thread : all) thread.join();
}

ObjectPtr part(unsigned seed, bool spoilt) {
    std::mt19937 random(seed);
    Channel of{BYTE_IMAGE, {}};
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const double good = 90 + 30 * std::sin(x * 0.3) + static_cast<double>(random() % 20);
            const bool scratch = spoilt && x > 25 && x < 38 && y > 20 && y < 24;
            of.bytes.push_back(static_cast<std::uint8_t>(scratch ? 255 : good));
        }
    return halcon::image(width, height, {of});
}

void training(const halcon::Package &package, const std::string &folder) {
    std::vector<ObjectPtr> parts;
    for (unsigned i = 0; i < 30; i++) parts.push_back(part(i, false));
    auto create = [&](const Tuple &names, const Tuple &values) {
        return package.call("create_adflow_model", {parts}, {names, values});
    };
    const std::string method = "method", size = "size", held_out = "held_out";
    const Outcome trained = create({method, size, held_out}, {std::string("gauss"), INT4_8{64}, 0.3});
    if (trained.code != H_MSG_TRUE) std::fprintf(stderr, "%s\n", trained.text.c_str());
    CHECK(trained.code == H_MSG_TRUE);
    const Tuple model = trained.tuples[0];
    const Outcome good = package.call("score_adflow_model", {{part(100, false)}}, {model});
    const Outcome bad = package.call("score_adflow_model", {{part(100, true)}}, {model});
    CHECK(number(bad, 0) > 2 * number(good, 0) && std::get<std::string>(bad.tuples[1][0]) == "defective");
    const std::string path = folder + "/trained.adflow";
    CHECK(package.call("write_adflow_model", {}, {model, {path}}).code == H_MSG_TRUE);
    const Tuple again = read(package, path);
    CHECK(bits(number(package.call("score_adflow_model", {{part(100, true)}}, {again}), 0)) == bits(number(bad, 0)));

    // A domain of all images is kept by the model: what lies outside never counts again.
    for (const ObjectPtr &image : parts) {
        image->domain.clear();
        for (int y = 0; y < height; y++) image->domain.push_back({y, 0, 19});
    }
    const Outcome left = create({method, size, held_out}, {std::string("gauss"), INT4_8{64}, 0.3});
    CHECK(left.code == H_MSG_TRUE);
    const double with = number(package.call("score_adflow_model", {{part(100, true)}}, {left.tuples[0]}), 0);
    CHECK(with == number(package.call("score_adflow_model", {{part(100, false)}}, {left.tuples[0]}), 0));
    parts[3]->domain.pop_back();
    CHECK(refused(create({}, {}), "image 4 has another domain"));
    parts.resize(1);
    CHECK(refused(create({size}, {INT4_8{64}}), ""));
    parts.clear();
    CHECK(refused(create({}, {}), "no images"));
    CHECK(refused(create({method}, {std::string("guess")}), "'guess'"));
    CHECK(refused(create({std::string("speed")}, {1.0}), "'speed'"));
    CHECK(refused(create({size}, {}), "one length"));
    CHECK(refused(create({size}, {std::string("large")}), "'size'"));
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 7);
    const auto hex = [](const char *text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 16)); };
    const halcon::Package package(argv[1], argv[2]);
    for (const auto &[name, op] : package.operators()) {
        // The thread class is declared, and every parameter described.
        bool declared = false;
        for (const std::string &slot : op.slots) declared |= slot == "process_mutual: false";
        CHECK(declared);
        for (const auto *list : {&op.input_objects, &op.output_objects, &op.input_tuples, &op.output_tuples})
            for (const halcon::Parameter &parameter : *list)
                CHECK(!parameter.sem_type.empty() && !parameter.multivalue.empty() && !parameter.types.empty());
    }
    CHECK(package.operators().size() == 8);
    images(package, argv[3], hex(argv[4]), hex(argv[5]));
    domains(package, argv[3]);
    parameters(package, argv[3]);
    mistakes(package, argv[3]);
    threads(package, argv[3], hex(argv[4]));
    training(package, argv[6]);
    CHECK(halcon::living_handles() == 0);
    std::puts("halcon holds");
}
