/* adflow for C++17: the handles of adflow.h with owners, exceptions and std::function. Header-only.
 *
 *     adflow::Model model = adflow::Model::open("part.adflow");
 *     adflow::Session session(model);                       // one for each camera thread
 *     adflow::Result result = session.score({pixels, 640, 480});
 *     if (result.verdict == ADFLOW_VERDICT_DEFECTIVE) eject();
 *
 * A cv::Mat is an Image and, as CV_32F, a Map: session.score(mat) just works, regions of interest included. Where adflow.h
 * returns a status, this throws adflow::error. Functions that begin with try_ give an adflow::Expected instead and throw
 * nothing; with ADFLOW_NO_EXCEPTIONS defined (or -fno-exceptions) only they are there. What adflow.h says about threads and
 * errors holds. Conversions that need OpenCV's own headers are in adflow_opencv.hpp. */
#ifndef ADFLOW_HPP
#define ADFLOW_HPP

#include "adflow.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span) && __cpp_lib_span >= 202002L
#include <span>
#define ADFLOW_HAS_SPAN 1
#endif

#if !defined(ADFLOW_NO_EXCEPTIONS) && !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#define ADFLOW_NO_EXCEPTIONS 1
#endif

namespace adflow {

#ifndef ADFLOW_NO_EXCEPTIONS
/// A status that is not OK; what() is the message.
class error : public std::runtime_error {
public:
    explicit error(adflow_status status) : std::runtime_error(adflow_last_error()), status_(status) {}
    adflow_status status() const noexcept { return status_; }

private:
    adflow_status status_;
};
#endif

/// A value, or the status of the call that did not give one. The message is that of adflow_last_error() on this thread.
template <class Value>
class [[nodiscard]] Expected {
public:
    Expected(Value value) : value_(std::move(value)), status_(ADFLOW_STATUS_OK) {} // NOLINT: meant to convert
    Expected(adflow_status status) noexcept : status_(status) {}                   // NOLINT: meant to convert

    bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    adflow_status status() const noexcept { return status_; }

    /// Only where there is one.
    Value &operator*() & noexcept { return *value_; }
    const Value &operator*() const & noexcept { return *value_; }
    Value &&operator*() && noexcept { return std::move(*value_); }
    Value *operator->() noexcept { return &*value_; }
    const Value *operator->() const noexcept { return &*value_; }
    Value value_or(Value other) && { return value_ ? std::move(*value_) : std::move(other); }

private:
    std::optional<Value> value_;
    adflow_status status_;
};

namespace detail {

#ifndef ADFLOW_NO_EXCEPTIONS
inline void check(adflow_status status) {
    if (status != ADFLOW_STATUS_OK) throw error(status);
}

[[noreturn]] inline void refuse(const char *why) { throw std::invalid_argument(why); }
#endif

/// A struct of adflow.h, zeroed and with its size.
template <class Struct>
struct Sized : Struct {
    Sized() noexcept : Struct{} { this->struct_size = static_cast<std::uint32_t>(sizeof(Struct)); }
};

template <auto free>
struct Free {
    template <class Handle>
    void operator()(Handle *handle) const noexcept { free(handle); }
};

template <class Handle, auto free>
using Owner = std::unique_ptr<Handle, Free<free>>;

constexpr adflow_samples samples_of(const std::uint8_t *) { return ADFLOW_SAMPLES_U8; }
constexpr adflow_samples samples_of(const std::uint16_t *) { return ADFLOW_SAMPLES_U16; }
constexpr adflow_samples samples_of(const float *) { return ADFLOW_SAMPLES_F32; }

/// Anything with the members of a cv::Mat: rows lie `step` bytes apart, channels in the order blue, green, red.
template <class Mat>
using if_mat = decltype(std::declval<const Mat &>().depth() + std::declval<const Mat &>().channels(),
                        static_cast<std::size_t>(std::declval<const Mat &>().step), std::declval<const Mat &>().data);

enum MatDepth { mat_u8 = 0, mat_u16 = 2, mat_f32 = 5 };

} // namespace detail

using SessionOptions = detail::Sized<adflow_session_options>;
using TrainOptions = detail::Sized<adflow_train_options>;
using Threshold = detail::Sized<adflow_threshold>;
using Info = detail::Sized<adflow_model_info>;
using Allocator = detail::Sized<adflow_allocator>;
using Run = adflow_run;

/// Part of an image: a rectangle, run lengths or a mask; Image::region points to one, which must live as long.
struct Region : detail::Sized<adflow_region> {
    static Region rectangle(std::int32_t left, std::int32_t top, std::uint32_t columns, std::uint32_t rows) noexcept {
        Region region;
        region.x = left;
        region.y = top;
        region.width = columns;
        region.height = rows;
        return region;
    }

    /// From top to bottom and, in a row, from left to right.
    static Region runs_of(const Run *first, std::size_t count) noexcept {
        Region region;
        region.kind = ADFLOW_REGION_KIND_RUNS;
        region.runs = first;
        region.run_count = count;
        return region;
    }

    static Region mask_of(const adflow_image &image) noexcept {
        Region region;
        region.kind = ADFLOW_REGION_KIND_MASK;
        region.mask = &image;
        return region;
    }
};

/// An image in somebody else's memory; all fields of adflow_image can be set.
struct Image : detail::Sized<adflow_image> {
    Image() = default;

    /// Samples of std::uint8_t, std::uint16_t or float; `row_bytes` 0 means no padding.
    template <class Sample, class = decltype(detail::samples_of(static_cast<const Sample *>(nullptr)))>
    Image(const Sample *pixels, std::uint32_t w, std::uint32_t h, adflow_channels order = ADFLOW_CHANNELS_GREY,
          std::ptrdiff_t row_bytes = 0) noexcept {
        samples = detail::samples_of(pixels);
        channels = order;
        width = w;
        height = h;
        data = pixels;
        row_stride = row_bytes;
    }

#ifdef ADFLOW_HAS_SPAN
    /// The same of a span, without padding; one that is too short gives an image that scoring refuses.
    template <class Sample, std::size_t N, class = decltype(detail::samples_of(static_cast<const Sample *>(nullptr)))>
    Image(std::span<Sample, N> pixels, std::uint32_t w, std::uint32_t h,
          adflow_channels order = ADFLOW_CHANNELS_GREY) noexcept
        : Image(static_cast<const std::remove_const_t<Sample> *>(pixels.data()), w, h, order) {
        const std::size_t each = order == ADFLOW_CHANNELS_GREY ? 1 : order <= ADFLOW_CHANNELS_BGR ? 3 : 4;
        if (pixels.size() / each / (w ? w : 1) < h) data = nullptr;
    }
#endif

    /// A cv::Mat of 1, 3 (BGR) or 4 (BGRA) channels, CV_8U, CV_16U or CV_32F.
    template <class Mat, class = detail::if_mat<Mat>, class = void>
    Image(const Mat &mat) { // NOLINT: meant to convert
        switch (mat.depth()) {
        case detail::mat_u8: samples = ADFLOW_SAMPLES_U8; break;
        case detail::mat_u16: samples = ADFLOW_SAMPLES_U16; break;
        case detail::mat_f32: samples = ADFLOW_SAMPLES_F32; break;
        default: refuse("adflow: images have samples of CV_8U, CV_16U or CV_32F"); break;
        }
        switch (mat.channels()) {
        case 1: channels = ADFLOW_CHANNELS_GREY; break;
        case 3: channels = ADFLOW_CHANNELS_BGR; break;
        case 4: channels = ADFLOW_CHANNELS_BGRA; break;
        default: refuse("adflow: images have 1, 3 or 4 channels"); break;
        }
        width = static_cast<std::uint32_t>(mat.cols);
        height = static_cast<std::uint32_t>(mat.rows);
        data = mat.data;
        row_stride = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(mat.step));
    }

private:
    /// Without exceptions the number is one that scoring refuses.
    void refuse([[maybe_unused]] const char *why) {
#ifdef ADFLOW_NO_EXCEPTIONS
        samples = UINT32_MAX;
#else
        detail::refuse(why);
#endif
    }
};

/// A map in somebody else's memory, in any resolution.
struct Map : detail::Sized<adflow_map> {
    Map(float *values, std::uint32_t w, std::uint32_t h, std::ptrdiff_t row_bytes = 0) noexcept {
        width = w;
        height = h;
        data = values;
        row_stride = row_bytes;
    }

#ifdef ADFLOW_HAS_SPAN
    /// The same of a span; one that is too short gives a map that scoring refuses.
    Map(std::span<float> values, std::uint32_t w, std::uint32_t h) noexcept : Map(values.data(), w, h) {
        if (values.size() / (w ? w : 1) < h) data = nullptr;
    }
#endif

    /// A cv::Mat of CV_32F with one channel.
    template <class Mat, class = detail::if_mat<Mat>>
    Map(Mat &mat) // NOLINT: meant to convert
        : Map(reinterpret_cast<float *>(mat.data), static_cast<std::uint32_t>(mat.cols),
              static_cast<std::uint32_t>(mat.rows),
              static_cast<std::ptrdiff_t>(static_cast<std::size_t>(mat.step))) {
        if (mat.depth() != detail::mat_f32 || mat.channels() != 1) {
#ifdef ADFLOW_NO_EXCEPTIONS
            data = nullptr; // which scoring refuses
#else
            detail::refuse("adflow: maps are CV_32F with one channel");
#endif
        }
    }
};

/// What became of an image.
struct Result {
    float score = 0;                                 ///< Larger is stranger.
    adflow_verdict verdict = ADFLOW_VERDICT_NONE;    ///< NONE without a threshold.
    float reject = 0;                                ///< The threshold; NaN without one.
};

/// A trained detector. Move-only; sessions outlive it if need be.
class Model {
public:
#ifndef ADFLOW_NO_EXCEPTIONS
    static Model open(const std::string &path) {
        adflow_model *model = nullptr;
        detail::check(adflow_model_open(path.c_str(), &model));
        return Model(model);
    }

    static Model from_memory(const void *bytes, std::size_t length) {
        adflow_model *model = nullptr;
        detail::check(adflow_model_from_memory(bytes, length, &model));
        return Model(model);
    }

#endif
    /// As open, without exceptions.
    static Expected<Model> try_open(const char *path) noexcept {
        adflow_model *model = nullptr;
        adflow_status status = adflow_model_open(path, &model);
        if (status != ADFLOW_STATUS_OK) return status;
        return Model(model);
    }

    /// As from_memory, without exceptions.
    static Expected<Model> try_from_memory(const void *bytes, std::size_t length) noexcept {
        adflow_model *model = nullptr;
        adflow_status status = adflow_model_from_memory(bytes, length, &model);
        if (status != ADFLOW_STATUS_OK) return status;
        return Model(model);
    }

    /// Takes over a handle.
    explicit Model(adflow_model *handle) noexcept : handle_(handle) {}

#ifndef ADFLOW_NO_EXCEPTIONS
    Info info() const {
        Info info;
        detail::check(adflow_model_get_info(get(), &info));
        return info;
    }

    /// How the model was made, for example about("seed").
    std::optional<std::string> about(const std::string &key) const {
        const char *value = nullptr;
        adflow_status status = adflow_model_about(get(), key.c_str(), &value);
        if (status == ADFLOW_STATUS_NOT_FOUND) return std::nullopt;
        detail::check(status);
        return value;
    }

    std::optional<Threshold> threshold() const {
        Threshold threshold;
        adflow_status status = adflow_model_get_threshold(get(), &threshold);
        if (status == ADFLOW_STATUS_NOT_FOUND) return std::nullopt;
        detail::check(status);
        return threshold;
    }

    /// nullopt removes it. Sessions made before keep theirs.
    void set_threshold(const std::optional<Threshold> &threshold) {
        detail::check(adflow_model_set_threshold(get(), threshold ? &*threshold : nullptr));
    }

    /// A threshold for other rates, from the good parts that training has set aside.
    Threshold calibrate(double false_reject, double confidence = 0.95, double unsure = 0) const {
        Threshold threshold;
        detail::check(adflow_model_calibrate(get(), false_reject, confidence, unsure, &threshold));
        return threshold;
    }

    void save(const std::string &path) const { detail::check(adflow_model_save(get(), path.c_str())); }

    /// The bytes of the model file.
    std::vector<std::uint8_t> to_memory() const {
        std::vector<std::uint8_t> bytes(static_cast<std::size_t>(info().file_bytes));
        std::size_t length = 0;
        detail::check(adflow_model_to_memory(get(), bytes.data(), bytes.size(), &length));
        bytes.resize(length);
        return bytes;
    }

    /// Bytes that a session of these options takes from its allocator.
    std::uint64_t session_memory(const SessionOptions &options = {}) const {
        std::uint64_t bytes = 0;
        detail::check(adflow_session_memory(get(), &options, &bytes));
        return bytes;
    }
#endif

    adflow_model *get() const noexcept { return handle_.get(); }

private:
    detail::Owner<adflow_model, adflow_model_free> handle_;
};

/// A model with threads and memory of its own, for one thread at a time. Move-only.
class Session {
public:
#ifndef ADFLOW_NO_EXCEPTIONS
    explicit Session(const Model &model, const SessionOptions &options = {}) {
        adflow_session *session = nullptr;
        detail::check(adflow_session_new(model.get(), &options, &session));
        handle_.reset(session);
    }

    Result score(const Image &image) {
        Result result;
        detail::check(try_score(image, nullptr, result));
        return result;
    }

    Result score(const Image &image, const Map &map) {
        Result result;
        detail::check(try_score(image, &map, result));
        return result;
    }

    /// Of a part of the image only; made with SessionOptions::regions.
    Result score_within(const Image &image, const Image &region) { return within(image, region, nullptr); }

    Result score_within(const Image &image, const Image &region, const Map &map) {
        return within(image, region, &map);
    }

    /// A call that takes longer throws TIMED_OUT; 0: none.
    void set_deadline(std::uint32_t microseconds) {
        detail::check(adflow_session_set_deadline(get(), microseconds));
    }
#endif

    /// Takes over a handle.
    explicit Session(adflow_session *handle) noexcept : handle_(handle) {}

    /// Makes a session, without exceptions.
    static Expected<Session> try_make(const Model &model, const SessionOptions &options = {}) noexcept {
        adflow_session *session = nullptr;
        adflow_status status = adflow_session_new(model.get(), &options, &session);
        if (status != ADFLOW_STATUS_OK) return status;
        return Session(session);
    }

    /// As score, without exceptions and allocations.
    Expected<Result> try_score(const Image &image) noexcept {
        Result result;
        adflow_status status = try_score(image, nullptr, result);
        if (status != ADFLOW_STATUS_OK) return status;
        return result;
    }

    /// The same with a map.
    Expected<Result> try_score(const Image &image, const Map &map) noexcept {
        Result result;
        adflow_status status = try_score(image, &map, result);
        if (status != ADFLOW_STATUS_OK) return status;
        return result;
    }

    /// The message of this session's last failure, on whichever thread it was.
    std::string last_error() const {
        char text[1024] = "";
        adflow_session_error_copy(get(), text, sizeof text, nullptr);
        return text;
    }

    /// Without exceptions and allocations; `map` may be nullptr, `result` is written on success.
    adflow_status try_score(const Image &image, const Map *map, Result &result) noexcept {
        detail::Sized<adflow_result> r;
        adflow_status status = adflow_session_score(get(), &image, map, &r);
        if (status == ADFLOW_STATUS_OK) result = {r.score, static_cast<adflow_verdict>(r.verdict), r.reject};
        return status;
    }

#ifndef ADFLOW_NO_EXCEPTIONS
    /// For this session only; nullopt removes it.
    void set_threshold(const std::optional<Threshold> &threshold) {
        detail::check(adflow_session_set_threshold(get(), threshold ? &*threshold : nullptr));
    }
#endif

    adflow_session *get() const noexcept { return handle_.get(); }

private:
#ifndef ADFLOW_NO_EXCEPTIONS
    Result within(const Image &image, const Image &region, const Map *map) {
        detail::Sized<adflow_result> r;
        detail::check(adflow_session_score_within(get(), &image, &region, map, &r));
        return {r.score, static_cast<adflow_verdict>(r.verdict), r.reject};
    }
#endif

    detail::Owner<adflow_session, adflow_session_free> handle_;
};

#ifndef ADFLOW_NO_EXCEPTIONS
/// Collects images of good parts and makes a model of them. Move-only.
class Trainer {
public:
    /// Told how far training is; false cancels. May throw: run() throws it again.
    using Progress = std::function<bool(const adflow_progress &)>;

    explicit Trainer(const TrainOptions &options = {}) {
        adflow_trainer *trainer = nullptr;
        detail::check(adflow_trainer_new(&options, &trainer));
        handle_.reset(trainer);
    }

    /// Adds a copy of an image; the name is used in messages.
    void add(const Image &image, const char *name = nullptr) {
        detail::check(adflow_trainer_add_image(get(), &image, name));
    }

    /// The same of a defective part, for a contrastive phase.
    void add_defect(const Image &image, const char *name = nullptr) {
        detail::check(adflow_trainer_add_defect(get(), &image, name));
    }

    Model run(const Progress &progress = {}) {
        Watch watch{progress, nullptr};
        adflow_model *model = nullptr;
        adflow_status status = adflow_trainer_run(get(), progress ? &Watch::call : nullptr, &watch, &model);
        if (watch.thrown) std::rethrow_exception(watch.thrown);
        detail::check(status);
        return Model(model);
    }

    adflow_trainer *get() const noexcept { return handle_.get(); }

private:
    struct Watch {
        const Progress &progress;
        std::exception_ptr thrown;

        static std::int32_t call(const adflow_progress *progress, void *user_data) noexcept {
            Watch &watch = *static_cast<Watch *>(user_data);
            try {
                return watch.progress(*progress) ? 0 : 1;
            } catch (...) {
                watch.thrown = std::current_exception();
                return 1;
            }
        }
    };

    detail::Owner<adflow_trainer, adflow_trainer_free> handle_;
};
#endif

} // namespace adflow

#endif
