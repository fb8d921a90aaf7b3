/* adflow for C++17: adflow.h with RAII, exceptions and std::function. Header-only.
 *
 *     adflow::Model model = adflow::Model::open("part.adflow");
 *     adflow::Session session(model);                       // one per camera thread
 *     adflow::Result result = session.score({pixels, 640, 480});
 *     if (result.verdict == ADFLOW_VERDICT_DEFECTIVE) eject();
 *
 * A cv::Mat converts to an Image and, if it is CV_32F, to a Map: session.score(mat) works, also for a sub-matrix. Where
 * adflow.h returns an error status, functions here throw adflow::error. Functions whose names begin with try_ return an
 * adflow::Expected instead and never throw; with ADFLOW_NO_EXCEPTIONS defined (or -fno-exceptions) there are only those. The
 * rules of adflow.h on threads and errors apply. Helpers that need OpenCV's own headers are in adflow_opencv.hpp. */
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
/// Thrown when a call fails: status() is the status, what() the message.
class error : public std::runtime_error {
public:
    explicit error(adflow_status status) : std::runtime_error(adflow_last_error()), status_(status) {}
    adflow_status status() const noexcept { return status_; }

private:
    adflow_status status_;
};
#endif

/// A value, or the status of the call that failed to produce it; adflow_last_error() on the same thread has the message.
template <class Value>
class [[nodiscard]] Expected {
public:
    Expected(Value value) : value_(std::move(value)), status_(ADFLOW_STATUS_OK) {} // NOLINT: implicit on purpose
    Expected(adflow_status status) noexcept : status_(status) {}                   // NOLINT: implicit on purpose

    bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    adflow_status status() const noexcept { return status_; }

    /// The value; undefined behaviour if has_value() is false.
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

/// A struct of adflow.h, zeroed, with struct_size set.
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

/// Enables a template for any type with the members of a cv::Mat; rows are `step` bytes apart, channels blue, green, red.
template <class Mat>
using if_mat = decltype(std::declval<const Mat &>().depth() + std::declval<const Mat &>().channels(),
                        static_cast<std::size_t>(std::declval<const Mat &>().step), std::declval<const Mat &>().data);

enum MatDepth { mat_u8 = 0, mat_u16 = 2, mat_f32 = 5 };

} // namespace detail

/// Options of a session; every field is documented at adflow_session_options. All zero: the defaults.
using SessionOptions = detail::Sized<adflow_session_options>;
/// Options of a training; every field is documented at adflow_train_options. All zero: the defaults.
using TrainOptions = detail::Sized<adflow_train_options>;
/// A threshold on the score; see adflow_threshold.
using Threshold = detail::Sized<adflow_threshold>;
/// Properties of a model; see adflow_model_info. The texts belong to the model.
using Info = detail::Sized<adflow_model_info>;
/// An allocator for SessionOptions::allocator; see adflow_allocator.
using Allocator = detail::Sized<adflow_allocator>;
/// One run of a region: pixels of one row from column first to column last, both included.
using Run = adflow_run;

/// Part of an image: a rectangle, run lengths or a mask. Image::region points to a Region, which must outlive the call.
struct Region : detail::Sized<adflow_region> {
    /// The rectangle whose top-left pixel is (left, top), columns wide and rows high.
    static Region rectangle(std::int32_t left, std::int32_t top, std::uint32_t columns, std::uint32_t rows) noexcept {
        Region region;
        region.x = left;
        region.y = top;
        region.width = columns;
        region.height = rows;
        return region;
    }

    /// `count` runs from `first` on, ordered by row and then by column, not overlapping. They must outlive the region.
    static Region runs_of(const Run *first, std::size_t count) noexcept {
        Region region;
        region.kind = ADFLOW_REGION_KIND_RUNS;
        region.runs = first;
        region.run_count = count;
        return region;
    }

    /// The pixels at which every channel of `image`, of the same size as the image to score, is at least half of white.
    static Region mask_of(const adflow_image &image) noexcept {
        Region region;
        region.kind = ADFLOW_REGION_KIND_MASK;
        region.mask = &image;
        return region;
    }
};

/// An image in memory that belongs to the caller; the pixels are not copied. All fields of adflow_image can be set.
struct Image : detail::Sized<adflow_image> {
    Image() = default;

    /// Interleaved samples of type std::uint8_t, std::uint16_t or float, w x h pixels; rows are `row_bytes` bytes apart, 0:
    /// without padding.
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
    /// Interleaved samples in a span, w x h pixels without padding. If the span is too short, scoring fails with NULL.
    template <class Sample, std::size_t N, class = decltype(detail::samples_of(static_cast<const Sample *>(nullptr)))>
    Image(std::span<Sample, N> pixels, std::uint32_t w, std::uint32_t h,
          adflow_channels order = ADFLOW_CHANNELS_GREY) noexcept
        : Image(static_cast<const std::remove_const_t<Sample> *>(pixels.data()), w, h, order) {
        const std::size_t each = order == ADFLOW_CHANNELS_GREY ? 1 : order <= ADFLOW_CHANNELS_BGR ? 3 : 4;
        if (pixels.size() / each / (w ? w : 1) < h) data = nullptr;
    }
#endif

    /// A cv::Mat with 1, 3 (BGR) or 4 (BGRA) channels of CV_8U, CV_16U or CV_32F; throws std::invalid_argument for others.
    /// With ADFLOW_NO_EXCEPTIONS, scoring fails with ARGUMENT instead.
    template <class Mat, class = detail::if_mat<Mat>, class = void>
    Image(const Mat &mat) { // NOLINT: implicit on purpose
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
    /// Throws, or without exceptions sets a sample type that makes scoring fail.
    void refuse([[maybe_unused]] const char *why) {
#ifdef ADFLOW_NO_EXCEPTIONS
        samples = UINT32_MAX;
#else
        detail::refuse(why);
#endif
    }
};

/// An anomaly map to be written, in memory that belongs to the caller; of any size, usually that of the image.
struct Map : detail::Sized<adflow_map> {
    /// w x h values; rows are `row_bytes` bytes apart, 0: without padding.
    Map(float *values, std::uint32_t w, std::uint32_t h, std::ptrdiff_t row_bytes = 0) noexcept {
        width = w;
        height = h;
        data = values;
        row_stride = row_bytes;
    }

#ifdef ADFLOW_HAS_SPAN
    /// w x h values in a span, without padding. If the span is too short, scoring fails with NULL.
    Map(std::span<float> values, std::uint32_t w, std::uint32_t h) noexcept : Map(values.data(), w, h) {
        if (values.size() / (w ? w : 1) < h) data = nullptr;
    }
#endif

    /// A cv::Mat of type CV_32FC1; throws std::invalid_argument for others. With ADFLOW_NO_EXCEPTIONS, scoring fails with NULL
    /// instead.
    template <class Mat, class = detail::if_mat<Mat>>
    Map(Mat &mat) // NOLINT: implicit on purpose
        : Map(reinterpret_cast<float *>(mat.data), static_cast<std::uint32_t>(mat.cols),
              static_cast<std::uint32_t>(mat.rows),
              static_cast<std::ptrdiff_t>(static_cast<std::size_t>(mat.step))) {
        if (mat.depth() != detail::mat_f32 || mat.channels() != 1) {
#ifdef ADFLOW_NO_EXCEPTIONS
            data = nullptr; // makes scoring fail
#else
            detail::refuse("adflow: maps are CV_32F with one channel");
#endif
        }
    }
};

/// Result of scoring an image.
struct Result {
    float score = 0;                                 ///< Anomaly score: the larger, the more anomalous.
    adflow_verdict verdict = ADFLOW_VERDICT_NONE;    ///< NONE if there is no threshold.
    float reject = 0;                                ///< Threshold: scores above it are defective; NaN if none.
};

/// A trained detector. Move-only. It may be destroyed before its sessions.
class Model {
public:
#ifndef ADFLOW_NO_EXCEPTIONS
    /// Opens and validates a model file.
    static Model open(const std::string &path) {
        adflow_model *model = nullptr;
        detail::check(adflow_model_open(path.c_str(), &model));
        return Model(model);
    }

    /// Opens and validates a model from the `length` bytes of a model file, which are copied.
    static Model from_memory(const void *bytes, std::size_t length) {
        adflow_model *model = nullptr;
        detail::check(adflow_model_from_memory(bytes, length, &model));
        return Model(model);
    }

#endif
    /// Opens and validates a model file, without exceptions.
    static Expected<Model> try_open(const char *path) noexcept {
        adflow_model *model = nullptr;
        adflow_status status = adflow_model_open(path, &model);
        if (status != ADFLOW_STATUS_OK) return status;
        return Model(model);
    }

    /// Opens a model from the `length` bytes of a model file, without exceptions.
    static Expected<Model> try_from_memory(const void *bytes, std::size_t length) noexcept {
        adflow_model *model = nullptr;
        adflow_status status = adflow_model_from_memory(bytes, length, &model);
        if (status != ADFLOW_STATUS_OK) return status;
        return Model(model);
    }

    /// Takes ownership of a handle of the C API.
    explicit Model(adflow_model *handle) noexcept : handle_(handle) {}

#ifndef ADFLOW_NO_EXCEPTIONS
    /// Properties of the model: sizes, method, backbone.
    Info info() const {
        Info info;
        detail::check(adflow_model_get_info(get(), &info));
        return info;
    }

    /// How the model was made: the text for a key such as "method" or "seed"; nullopt if the model has no such key.
    std::optional<std::string> about(const std::string &key) const {
        const char *value = nullptr;
        adflow_status status = adflow_model_about(get(), key.c_str(), &value);
        if (status == ADFLOW_STATUS_NOT_FOUND) return std::nullopt;
        detail::check(status);
        return value;
    }

    /// The model's threshold; nullopt if it has none.
    std::optional<Threshold> threshold() const {
        Threshold threshold;
        adflow_status status = adflow_model_get_threshold(get(), &threshold);
        if (status == ADFLOW_STATUS_NOT_FOUND) return std::nullopt;
        detail::check(status);
        return threshold;
    }

    /// Replaces the threshold; nullopt removes it. Sessions that already exist keep the threshold they have.
    void set_threshold(const std::optional<Threshold> &threshold) {
        detail::check(adflow_model_set_threshold(get(), threshold ? &*threshold : nullptr));
    }

    /// Computes a threshold from the held-out scores stored in the model, without setting it: at most the share `false_reject` of
    /// good parts is rejected, with probability `confidence`. `unsure` above `false_reject` adds a grey zone; 0 adds none.
    Threshold calibrate(double false_reject, double confidence = 0.95, double unsure = 0) const {
        Threshold threshold;
        detail::check(adflow_model_calibrate(get(), false_reject, confidence, unsure, &threshold));
        return threshold;
    }

    /// Writes the model to a file, which is replaced in one step.
    void save(const std::string &path) const { detail::check(adflow_model_save(get(), path.c_str())); }

    /// The bytes of the model file, as from_memory() takes them.
    std::vector<std::uint8_t> to_memory() const {
        std::vector<std::uint8_t> bytes(static_cast<std::size_t>(info().file_bytes));
        std::size_t length = 0;
        detail::check(adflow_model_to_memory(get(), bytes.data(), bytes.size(), &length));
        bytes.resize(length);
        return bytes;
    }

    /// Number of bytes that a session with these options takes from its allocator.
    std::uint64_t session_memory(const SessionOptions &options = {}) const {
        std::uint64_t bytes = 0;
        detail::check(adflow_session_memory(get(), &options, &bytes));
        return bytes;
    }
#endif

    /// The handle of the C API, still owned by this object.
    adflow_model *get() const noexcept { return handle_.get(); }

private:
    detail::Owner<adflow_model, adflow_model_free> handle_;
};

/// A model with its own threads and working memory, ready to score. Only one thread at a time may use it. Move-only.
class Session {
public:
#ifndef ADFLOW_NO_EXCEPTIONS
    /// Makes a session, with the model's present threshold.
    explicit Session(const Model &model, const SessionOptions &options = {}) {
        adflow_session *session = nullptr;
        detail::check(adflow_session_new(model.get(), &options, &session));
        handle_.reset(session);
    }

    /// Scores an image.
    Result score(const Image &image) {
        Result result;
        detail::check(try_score(image, nullptr, result));
        return result;
    }

    /// Scores an image and writes its anomaly map.
    Result score(const Image &image, const Map &map) {
        Result result;
        detail::check(try_score(image, &map, result));
        return result;
    }

    /// Scores only the pixels at which every channel of `region`, a mask image of the same size, is at least half of white. The
    /// session must have been made with SessionOptions::regions.
    Result score_within(const Image &image, const Image &region) { return within(image, region, nullptr); }

    /// Scores the pixels inside a region and writes the anomaly map, which is 0 outside.
    Result score_within(const Image &image, const Image &region, const Map &map) {
        return within(image, region, &map);
    }

    /// Limits the time of later calls: one that takes longer fails with TIMED_OUT. 0: no limit.
    void set_deadline(std::uint32_t microseconds) {
        detail::check(adflow_session_set_deadline(get(), microseconds));
    }
#endif

    /// Takes ownership of a handle of the C API.
    explicit Session(adflow_session *handle) noexcept : handle_(handle) {}

    /// Makes a session with the model's present threshold, without exceptions.
    static Expected<Session> try_make(const Model &model, const SessionOptions &options = {}) noexcept {
        adflow_session *session = nullptr;
        adflow_status status = adflow_session_new(model.get(), &options, &session);
        if (status != ADFLOW_STATUS_OK) return status;
        return Session(session);
    }

    /// Scores an image without exceptions or allocations.
    Expected<Result> try_score(const Image &image) noexcept {
        Result result;
        adflow_status status = try_score(image, nullptr, result);
        if (status != ADFLOW_STATUS_OK) return status;
        return result;
    }

    /// Scores an image and writes its anomaly map, without exceptions or allocations.
    Expected<Result> try_score(const Image &image, const Map &map) noexcept {
        Result result;
        adflow_status status = try_score(image, &map, result);
        if (status != ADFLOW_STATUS_OK) return status;
        return result;
    }

    /// The message of the last call on this session that failed, on any thread; empty if none has failed.
    std::string last_error() const {
        char text[1024] = "";
        adflow_session_error_copy(get(), text, sizeof text, nullptr);
        return text;
    }

    /// Scores an image without exceptions or allocations. `map` may be nullptr; `result` is only written on success.
    adflow_status try_score(const Image &image, const Map *map, Result &result) noexcept {
        detail::Sized<adflow_result> r;
        adflow_status status = adflow_session_score(get(), &image, map, &r);
        if (status == ADFLOW_STATUS_OK) result = {r.score, static_cast<adflow_verdict>(r.verdict), r.reject};
        return status;
    }

#ifndef ADFLOW_NO_EXCEPTIONS
    /// Replaces the threshold of this session only; nullopt removes it, so that verdicts are NONE.
    void set_threshold(const std::optional<Threshold> &threshold) {
        detail::check(adflow_session_set_threshold(get(), threshold ? &*threshold : nullptr));
    }
#endif

    /// The handle of the C API, still owned by this object.
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
/// Collects images of good parts and trains a model from them. Only one thread at a time may use it. Move-only.
class Trainer {
public:
    /// Receives the progress of a training; returning false cancels it. An exception it throws is rethrown by run().
    using Progress = std::function<bool(const adflow_progress &)>;

    /// Makes a trainer that has no images yet.
    explicit Trainer(const TrainOptions &options = {}) {
        adflow_trainer *trainer = nullptr;
        detail::check(adflow_trainer_new(&options, &trainer));
        handle_.reset(trainer);
    }

    /// Adds a copy of an image of a good part. Messages refer to it by `name`, or by its number.
    void add(const Image &image, const char *name = nullptr) {
        detail::check(adflow_trainer_add_image(get(), &image, name));
    }

    /// Adds a copy of an image of a defective part, for training with TrainOptions::contrastive_epochs.
    void add_defect(const Image &image, const char *name = nullptr) {
        detail::check(adflow_trainer_add_defect(get(), &image, name));
    }

    /// Trains a model on the images added so far. Throws adflow::error with CANCELLED if `progress` returned false.
    Model run(const Progress &progress = {}) {
        Watch watch{progress, nullptr};
        adflow_model *model = nullptr;
        adflow_status status = adflow_trainer_run(get(), progress ? &Watch::call : nullptr, &watch, &model);
        if (watch.thrown) std::rethrow_exception(watch.thrown);
        detail::check(status);
        return Model(model);
    }

    /// The handle of the C API, still owned by this object.
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
