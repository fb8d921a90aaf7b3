/* adflow as a cv::Algorithm: create(), detect(), save() and cv::Algorithm::load(), like OpenCV's own detectors.
 *
 *     cv::Ptr<AnomalyDetector> detector = AnomalyDetector::create("part.adflow");
 *     adflow::Result result = detector->detect(frame);          // any cv::Mat, a region of interest of one as well
 *     if (result.verdict == ADFLOW_VERDICT_DEFECTIVE) eject();
 *
 * No pixel is copied: a matrix is described by its pointer and its step. Errors are exceptions: adflow::error, and
 * std::invalid_argument for a matrix that is no image. One thread at a time may use a detector; each camera has its own. */
#ifndef ANOMALY_DETECTOR_HPP
#define ANOMALY_DETECTOR_HPP

#include "adflow_opencv.hpp"

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>

class AnomalyDetector : public cv::Algorithm {
public:
    struct Params {
        std::string device;   ///< Where programs run, as `device` of adflow_session_options; "" is the CPU.
        int threads = 0;      ///< Threads that work on one image; 0: one per processor.
        bool masks = false;   ///< Whether detect() will be given masks.
        double threshold = std::nan(""); ///< Scores above it are defective; NaN: the model's own.
    };

    /// Opens a model file.
    static cv::Ptr<AnomalyDetector> create(const cv::String &model, const Params &params) {
        cv::Ptr<AnomalyDetector> detector = create();
        detector->open(model, params);
        return detector;
    }

    static cv::Ptr<AnomalyDetector> create(const cv::String &model) { return create(model, Params()); }

    /// An empty one, for cv::Algorithm::load() to fill.
    static cv::Ptr<AnomalyDetector> create() { return cv::makePtr<AnomalyDetector>(); }

    /// Scores an image of CV_8U, CV_16U or CV_32F (0 to 1) with one channel, three (BGR) or four (BGRA).
    ///
    /// `map`, if wanted, becomes CV_32F of the image's size: how strange each pixel is. `mask`, if given, is CV_8U of the image's
    /// size; pixels where it is 0 change neither score nor map.
    adflow::Result detect(cv::InputArray image, cv::OutputArray map = cv::noArray(),
                          cv::InputArray mask = cv::noArray()) {
        if (empty()) CV_Error(cv::Error::StsNullPtr, "the detector has no model");
        const cv::Mat pixels = image.getMat(), inside = mask.getMat();
        if (!map.needed())
            return mask.empty() ? adflow::score(*session_, pixels) : adflow::score_within(*session_, pixels, inside);
        map.create(adflow::size(pixels), CV_32F);
        cv::Mat values = map.getMat();
        return mask.empty() ? adflow::score(*session_, pixels, values)
                            : adflow::score_within(*session_, pixels, inside, values);
    }

    /// The image in grey with the map's colours over it, BGR of 8 bits. What good parts have stays calm.
    void draw(cv::InputArray image, cv::InputArray map, cv::OutputArray to) const {
        adflow::overlay(image.getMat(), map.getMat(), info_.map_typical, info_.map_limit).copyTo(to);
    }

    /// Facts about the model, as adflow_model_get_info gives them.
    const adflow::Info &info() const { return info_; }

    bool empty() const override { return !session_; }
    void clear() override {
        session_.reset();
        model_.reset();
    }
    cv::String getDefaultName() const override { return "adflow_anomaly_detector"; }

    /// Where the model is and how it is used; the model file itself stays where it is.
    void write(cv::FileStorage &fs) const override {
        fs << "model" << path_ << "device" << params_.device << "threads" << params_.threads << "masks" << params_.masks;
        if (!std::isnan(params_.threshold)) fs << "threshold" << params_.threshold;
    }

    void read(const cv::FileNode &node) override {
        Params params;
        params.device = static_cast<std::string>(node["device"]);
        params.threads = static_cast<int>(node["threads"]);
        params.masks = static_cast<int>(node["masks"]) != 0;
        if (!node["threshold"].empty()) params.threshold = static_cast<double>(node["threshold"]);
        open(static_cast<std::string>(node["model"]), params);
    }

private:
    void open(const std::string &path, const Params &params) {
        adflow::Model model = adflow::Model::open(path);
        adflow::SessionOptions options;
        options.threads = static_cast<std::uint32_t>(params.threads);
        options.device = params.device.empty() ? nullptr : params.device.c_str();
        options.regions = params.masks;
        adflow::Session session(model, options);
        if (!std::isnan(params.threshold)) {
            adflow::Threshold threshold;
            threshold.reject = static_cast<float>(params.threshold);
            session.set_threshold(threshold);
        }
        model_ = std::move(model);
        session_ = std::move(session);
        info_ = model_->info();
        path_ = path;
        params_ = params;
    }

    std::optional<adflow::Model> model_;
    std::optional<adflow::Session> session_;
    adflow::Info info_;
    std::string path_;
    Params params_;
};

#endif
