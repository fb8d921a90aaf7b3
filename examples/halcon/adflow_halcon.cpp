// A HALCON extension package: the supply procedures of adflow.def over the C ABI of adflow.
//
// Images are read where they lie: one channel, or three planes. A domain that is not the whole image becomes a mask. Anomaly
// images are written by adflow into the memory that HALCON has given. Every operator is reentrant: a handle keeps idle sessions,
// a call takes one or makes one, so that threads never wait for each other.
//
// Needs HALCON 18.11 or newer, whose handles have types. Errors have the codes 10000 + adflow_status, or 10100 where a parameter
// is wrong, and always a text.
#include "Halcon.h"

#include "adflow.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef HUserExport
#define HUserExport
#endif

namespace {

constexpr Herror error_of_adflow = 10000, error_of_a_parameter = 10100;

/// A wrong parameter; the text says which.
struct Wrong : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

Herror say(Herror code, const char *text) {
    // HALCON reads the text when get_error_text is called in this thread.
    static thread_local char said[1024];
    std::snprintf(said, sizeof said, "adflow: %s", text);
    HSetErrText(said);
    return code;
}

/// Exceptions end here: what HALCON sees is a code and a text.
template <class Body>
Herror guarded(Body body) noexcept {
    try {
        return body();
    } catch (const adflow::error &error) {
        return say(error_of_adflow + static_cast<Herror>(error.status()), error.what());
    } catch (const Wrong &error) {
        return say(error_of_a_parameter, error.what());
    } catch (const std::exception &error) {
        return say(error_of_adflow + ADFLOW_STATUS_INTERNAL, error.what());
    }
}

// ---- control parameters ----

std::string text_of(const char *name, const Hcpar &value) {
    if (value.type != STRING_PAR) throw Wrong(std::string(name) + " must be a string");
    return value.par.s;
}

double number_of(const std::string &name, const Hcpar &value) {
    if (value.type == LONG_PAR) return static_cast<double>(value.par.l);
    if (value.type == DOUBLE_PAR) return value.par.d;
    throw Wrong("'" + name + "' must be a number");
}

std::uint32_t count_of(const std::string &name, const Hcpar &value) {
    const double number = number_of(name, value);
    if (!(number >= 0 && number <= 4294967295.0) || number != static_cast<double>(static_cast<std::uint32_t>(number)))
        throw Wrong("'" + name + "' must be a whole number from 0");
    return static_cast<std::uint32_t>(number);
}

// ---- images ----

/// An input image: its channels, where they lie.
struct Channels {
    std::array<Himage, 3> channel{};
    int count = 0;

    /// Described for adflow; `white` 0 is the default of the type.
    adflow::Image image(float white) const {
        adflow::Image image;
        image.width = static_cast<std::uint32_t>(channel[0].width);
        image.height = static_cast<std::uint32_t>(channel[0].height);
        switch (channel[0].kind) {
        case BYTE_IMAGE: image.samples = ADFLOW_SAMPLES_U8; break;
        case UINT2_IMAGE: image.samples = ADFLOW_SAMPLES_U16; break;
        case FLOAT_IMAGE:
            image.samples = ADFLOW_SAMPLES_F32;
            // What convert_image_type makes of a byte image.
            image.white = 255;
            break;
        default: throw Wrong("images are of type byte, uint2 or real");
        }
        if (white > 0) image.white = white;
        image.channels = count == 3 ? ADFLOW_CHANNELS_RGB : ADFLOW_CHANNELS_GREY;
        image.data = plane(0);
        if (count == 3) {
            image.plane_2 = plane(1);
            image.plane_3 = plane(2);
        }
        return image;
    }

private:
    const void *plane(std::size_t i) const {
        const Himage &of = channel[i];
        if (of.kind != channel[0].kind || of.width != channel[0].width || of.height != channel[0].height)
            throw Wrong("the channels of an image have one size and one type");
        return of.kind == BYTE_IMAGE    ? static_cast<const void *>(of.pixel.b)
               : of.kind == UINT2_IMAGE ? static_cast<const void *>(of.pixel.u.p)
                                        : static_cast<const void *>(of.pixel.f);
    }
};

/// The input image `number` (from 1) of the first object parameter.
Herror read_image(Hproc_handle ph, INT4_8 number, Hkey *object, Channels *channels, Hrlregion **domain) {
    HGetObj(ph, 1, number, object);
    HCkP(HPNumOfChannels(ph, 1, number, &channels->count));
    if (channels->count != 1 && channels->count != 3)
        throw Wrong("image " + std::to_string(number) + " has " + std::to_string(channels->count) +
                    " channels; adflow reads one or three");
    for (int i = 0; i < channels->count; i++) HGetDImage(ph, *object, i + 1, &channels->channel[static_cast<std::size_t>(i)]);
    HGetFDRL(ph, *object, domain);
    return H_MSG_OK;
}

/// Makes a mask of a domain; false, and no mask, if the domain is the whole image.
bool make_mask(const Hrlregion &domain, const adflow::Image &image, std::vector<std::uint8_t> &mask) {
    const long width = static_cast<long>(image.width), height = static_cast<long>(image.height);
    std::size_t inside = 0;
    const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    // Runs end at both ends inside; what lies outside the image is cut off.
    auto each = [&](auto visit) {
        for (long i = 0; i < static_cast<long>(domain.num); i++) {
            const Hrun &run = domain.rl[i];
            const long first = std::max<long>(run.cb, 0), last = std::min<long>(run.ce, width - 1);
            if (run.l >= 0 && run.l < height && first <= last)
                visit(static_cast<std::size_t>(run.l * width + first), static_cast<std::size_t>(last - first + 1));
        }
    };
    each([&](std::size_t, std::size_t length) { inside += length; });
    if (inside == pixels && !domain.is_compl) return false;
    mask.assign(pixels, domain.is_compl ? 255 : 0);
    each([&](std::size_t at, std::size_t length) { std::memset(&mask[at], domain.is_compl ? 0 : 255, length); });
    return true;
}

// ---- models ----

/// What one call at a time works with.
struct Slot {
    adflow::Session session;
    std::vector<std::uint8_t> mask;
    unsigned generation;
};

using Lock = std::lock_guard<std::mutex>;

/// A model with its idle sessions. All functions are reentrant.
class Detector {
public:
    explicit Detector(adflow::Model model) : model_(std::move(model)) {}

    /// An idle session, or a new one; it comes back with the loan's end.
    class Loan {
    public:
        explicit Loan(Detector &detector) : detector_(detector), slot_(detector.take()) {}
        Loan(const Loan &) = delete;
        Loan &operator=(const Loan &) = delete;
        ~Loan() { detector_.put(std::move(slot_)); }
        Slot *operator->() const { return slot_.get(); }

    private:
        Detector &detector_;
        std::unique_ptr<Slot> slot_;
    };

    const adflow::Model &model() const { return model_; }
    float white() {
        const Lock lock(mutex_);
        return white_;
    }
    std::uint32_t threads() {
        const Lock lock(mutex_);
        return threads_;
    }
    std::string device() {
        const Lock lock(mutex_);
        return device_;
    }

    void set(const std::string &name, const Hcpar &value) {
        const Lock lock(mutex_);
        if (name == "threshold") {
            adflow::Threshold threshold;
            threshold.reject = static_cast<float>(number_of(name, value));
            model_.set_threshold(threshold);
        } else if (name == "num_threads") {
            threads_ = count_of(name, value);
        } else if (name == "device") {
            device_ = text_of("'device'", value);
        } else if (name == "white") {
            const double white = number_of(name, value);
            if (!(white >= 0)) throw Wrong("'white' must not be negative");
            white_ = static_cast<float>(white);
        } else {
            throw Wrong("there is no parameter '" + name + "' to set");
        }
        // Sessions keep what they were made with.
        generation_++;
        idle_.clear();
    }

private:
    std::unique_ptr<Slot> take() {
        adflow::SessionOptions options;
        std::string device;
        unsigned generation;
        {
            const Lock lock(mutex_);
            if (!idle_.empty()) {
                std::unique_ptr<Slot> slot = std::move(idle_.back());
                idle_.pop_back();
                return slot;
            }
            options.threads = threads_;
            device = device_;
            generation = generation_;
        }
        options.device = device.empty() ? nullptr : device.c_str();
        options.regions = 1;
        options.max_width = 32768;
        return std::unique_ptr<Slot>(new Slot{adflow::Session(model_, options), {}, generation});
    }

    void put(std::unique_ptr<Slot> slot) noexcept {
        const Lock lock(mutex_);
        try {
            if (slot->generation == generation_) idle_.push_back(std::move(slot));
        } catch (...) {
            // No memory to keep it: it goes.
        }
    }

    std::mutex mutex_;
    adflow::Model model_;
    std::vector<std::unique_ptr<Slot>> idle_;
    unsigned generation_ = 0;
    std::uint32_t threads_ = 0;
    std::string device_;
    float white_ = 0;
};

/// What a HALCON handle holds; clear_adflow_model empties it while others may still work with the detector.
struct Handle {
    std::mutex mutex;
    std::shared_ptr<Detector> detector;

    std::shared_ptr<Detector> get() {
        const Lock lock(mutex);
        if (!detector) throw Wrong("this model has been cleared");
        return detector;
    }
};

extern "C" Herror adflow_free_handle(Hproc_handle, void *data) {
    delete static_cast<Handle *>(data);
    return H_MSG_OK;
}

/// "adfl": handles of other packages are refused by their tag.
const HHandleInfo handle_type = HANDLE_INFO_INITIALIZER_NOSER(0x6164666c, "adflow_model", adflow_free_handle, nullptr, nullptr);

Herror give(Hproc_handle ph, adflow::Model model) {
    auto handle = std::make_unique<Handle>();
    handle->detector = std::make_shared<Detector>(std::move(model));
    Handle **place = nullptr;
    HCkP(HAllocOutputHandle(ph, 1, &place, &handle_type));
    // From here on the output parameter owns it, also if the call fails.
    *place = handle.release();
    return H_MSG_TRUE;
}

Herror get(Hproc_handle ph, std::shared_ptr<Detector> *detector) {
    Handle *handle = nullptr;
    HGetCElemH1(ph, 1, &handle_type, &handle);
    *detector = handle->get();
    return H_MSG_OK;
}

Herror text_parameter(Hproc_handle ph, int number, const char *name, std::string *text) {
    const Hcpar *values = nullptr;
    INT4_8 count = 0;
    HGetPPar(ph, number, &values, &count);
    if (count != 1) throw Wrong(std::string(name) + " must be one string");
    *text = text_of(name, values[0]);
    return H_MSG_OK;
}

// ---- operators ----

/// One parameter of create_adflow_model.
void set_option(adflow::TrainOptions &options, std::string &backbone, std::string &device, float &white, const std::string &name,
                const Hcpar &value) {
    static const char *const methods[] = {"cdnf", "differnet", "padim", "gauss", "posflow", "fastflow", "csflow", "ssnf"};
    if (name == "method") {
        const std::string method = text_of("'method'", value);
        for (std::uint32_t i = 0; i < std::size(methods); i++)
            if (method == methods[i]) options.method = ADFLOW_METHOD_CDNF + i;
        if (options.method == ADFLOW_METHOD_DEFAULT) throw Wrong("there is no method '" + method + "'");
    } else if (name == "size") options.size = count_of(name, value);
    else if (name == "epochs") options.epochs = count_of(name, value);
    else if (name == "views") options.views = count_of(name, value);
    else if (name == "num_threads") options.threads = count_of(name, value);
    else if (name == "seed") options.seed = count_of(name, value);
    else if (name == "no_map") options.no_map = count_of(name, value);
    else if (name == "false_reject") options.false_reject = number_of(name, value);
    else if (name == "confidence") options.confidence = number_of(name, value);
    else if (name == "held_out") options.held_out = number_of(name, value);
    else if (name == "learning_rate") options.learning_rate = static_cast<float>(number_of(name, value));
    else if (name == "white") white = static_cast<float>(number_of(name, value));
    else if (name == "backbone") backbone = text_of("'backbone'", value);
    else if (name == "device") device = text_of("'device'", value);
    else throw Wrong("create_adflow_model has no parameter '" + name + "'");
}

Herror create(Hproc_handle ph) {
    const Hcpar *names = nullptr, *values = nullptr;
    INT4_8 name_count = 0, value_count = 0, images = 0;
    HGetPPar(ph, 1, &names, &name_count);
    HGetPPar(ph, 2, &values, &value_count);
    if (name_count != value_count) throw Wrong("GenParamName and GenParamValue have one length");
    adflow::TrainOptions options;
    std::string backbone, device;
    float white = 0;
    for (INT4_8 i = 0; i < name_count; i++)
        set_option(options, backbone, device, white, text_of("GenParamName", names[i]), values[i]);
    if (!backbone.empty()) options.backbone = backbone.c_str();
    if (!device.empty()) options.device = device.c_str();

    HGetObjNum(ph, 1, &images);
    std::unique_ptr<adflow::Trainer> trainer;
    std::vector<std::uint8_t> region, other;
    bool all = false;
    for (INT4_8 i = 1; i <= images; i++) {
        Hkey object;
        Channels channels;
        Hrlregion *domain = nullptr;
        HCkP(read_image(ph, i, &object, &channels, &domain));
        const adflow::Image image = channels.image(white);
        if (!trainer) {
            all = !make_mask(*domain, image, region);
            const adflow::Image mask(region.data(), image.width, image.height);
            if (!all) options.region = &mask;
            trainer = std::make_unique<adflow::Trainer>(options);
            options.region = nullptr;
        } else if (make_mask(*domain, image, other) == all || (!all && other != region)) {
            throw Wrong("image " + std::to_string(i) + " has another domain than the first");
        }
        trainer->add(image);
    }
    if (!trainer) throw Wrong("there are no images to train with");
    return give(ph, trainer->run());
}

/// apply_adflow_model, and without maps score_adflow_model.
Herror score(Hproc_handle ph, bool with_map) {
    static const char *const verdicts[] = {"none", "good", "unsure", "defective"};
    std::shared_ptr<Detector> detector;
    HCkP(get(ph, &detector));
    const float white = detector->white();
    Detector::Loan loan(*detector);

    INT4_8 images = 0;
    HGetObjNum(ph, 1, &images);
    std::vector<double> scores;
    std::vector<const char *> said;
    for (INT4_8 i = 1; i <= images; i++) {
        Hkey object, result_object, key;
        Channels channels;
        Hrlregion *domain = nullptr;
        HCkP(read_image(ph, i, &object, &channels, &domain));
        const adflow::Image image = channels.image(white);
        const bool masked = make_mask(*domain, image, loan->mask);
        const adflow::Image mask(masked ? loan->mask.data() : nullptr, image.width, image.height);
        adflow::Result result;
        if (with_map) {
            HCrObj(ph, 1, &result_object);
            HPutDRL(ph, result_object, domain, &key);
            Himage map;
            HCkP(HNewImage(ph, &map, FLOAT_IMAGE, channels.channel[0].width, channels.channel[0].height));
            try {
                const adflow::Map values(map.pixel.f, image.width, image.height);
                result = masked ? loan->session.score_within(image, mask, values) : loan->session.score(image, values);
            } catch (...) {
                HFreeImage(ph, &map);
                throw;
            }
            HPutDImage(ph, result_object, 1, &map, false, &key);
        } else {
            result = masked ? loan->session.score_within(image, mask) : loan->session.score(image);
        }
        scores.push_back(static_cast<double>(result.score));
        said.push_back(verdicts[result.verdict]);
    }
    HPutElem(ph, 1, scores.data(), static_cast<INT4_8>(scores.size()), DOUBLE_PAR);
    HPutElem(ph, 2, said.data(), static_cast<INT4_8>(said.size()), STRING_PAR);
    return H_MSG_TRUE;
}

Herror put_text(Hproc_handle ph, const std::string &text) {
    const char *value = text.c_str();
    HPutElem(ph, 1, &value, 1, STRING_PAR);
    return H_MSG_TRUE;
}

Herror put_real(Hproc_handle ph, double value) {
    HPutElem(ph, 1, &value, 1, DOUBLE_PAR);
    return H_MSG_TRUE;
}

Herror put_count(Hproc_handle ph, std::uint32_t count) {
    const INT4_8 value = count;
    HPutElem(ph, 1, &value, 1, LONG_PAR);
    return H_MSG_TRUE;
}

Herror get_parameter(Hproc_handle ph) {
    std::shared_ptr<Detector> detector;
    std::string name;
    HCkP(get(ph, &detector));
    HCkP(text_parameter(ph, 2, "GenParamName", &name));
    const adflow::Info info = detector->model().info();
    if (name == "method") return put_text(ph, info.method);
    if (name == "backbone") return put_text(ph, info.backbone);
    if (name == "device") return put_text(ph, detector->device().empty() ? "cpu" : detector->device());
    if (name == "input_size") return put_count(ph, info.input_size);
    if (name == "num_threads") return put_count(ph, detector->threads());
    if (name == "map_typical") return put_real(ph, static_cast<double>(info.map_typical));
    if (name == "map_limit") return put_real(ph, static_cast<double>(info.map_limit));
    if (name == "white") return put_real(ph, static_cast<double>(detector->white()));
    if (name == "threshold" || name == "confidence") {
        const std::optional<adflow::Threshold> threshold = detector->model().threshold();
        if (threshold) return put_real(ph, name == "threshold" ? static_cast<double>(threshold->reject) : threshold->confidence);
        HPutElem(ph, 1, nullptr, 0, DOUBLE_PAR);
        return H_MSG_TRUE;
    }
    throw Wrong("there is no parameter '" + name + "'");
}

} // namespace

// ---- what adflow.def names ----

extern "C" {

HUserExport Herror CAdflowRead(Hproc_handle ph) {
    return guarded([&] {
        std::string path;
        HCkP(text_parameter(ph, 1, "FileName", &path));
        return give(ph, adflow::Model::open(path));
    });
}

HUserExport Herror CAdflowCreate(Hproc_handle ph) {
    return guarded([&] { return create(ph); });
}

HUserExport Herror CAdflowWrite(Hproc_handle ph) {
    return guarded([&]() -> Herror {
        std::shared_ptr<Detector> detector;
        std::string path;
        HCkP(get(ph, &detector));
        HCkP(text_parameter(ph, 2, "FileName", &path));
        detector->model().save(path);
        return H_MSG_TRUE;
    });
}

HUserExport Herror CAdflowApply(Hproc_handle ph) {
    return guarded([&] { return score(ph, true); });
}

HUserExport Herror CAdflowScore(Hproc_handle ph) {
    return guarded([&] { return score(ph, false); });
}

HUserExport Herror CAdflowGet(Hproc_handle ph) {
    return guarded([&] { return get_parameter(ph); });
}

HUserExport Herror CAdflowSet(Hproc_handle ph) {
    return guarded([&]() -> Herror {
        std::shared_ptr<Detector> detector;
        std::string name;
        const Hcpar *values = nullptr;
        INT4_8 count = 0;
        HCkP(get(ph, &detector));
        HCkP(text_parameter(ph, 2, "GenParamName", &name));
        HGetPPar(ph, 3, &values, &count);
        if (count != 1) throw Wrong("GenParamValue must be one value");
        detector->set(name, values[0]);
        return H_MSG_TRUE;
    });
}

HUserExport Herror CAdflowClear(Hproc_handle ph) {
    return guarded([&]() -> Herror {
        Handle *handle = nullptr;
        HGetCElemH1(ph, 1, &handle_type, &handle);
        const Lock lock(handle->mutex);
        handle->detector.reset();
        return H_MSG_TRUE;
    });
}

} // extern "C"
