// The cv::Algorithm of examples/opencv on matrices of every kind, and the pictures for the test of the inspection line.
//
//     opencv MODEL PICTURE RGB GREY FOLDER
//
// PICTURE is the colour picture of check.h in a format that OpenCV reads; RGB and GREY are the bits of the scores.
#include "check.hpp"
#include "../../examples/opencv/anomaly_detector.hpp"

#include <opencv2/core/utils/filesystem.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

std::uint32_t bits(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return word;
}

std::uint32_t hex(const char *text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 16)); }

// The matrix inside a larger one, which other pixels surround.
cv::Mat inside(const cv::Mat &mat) {
    cv::Mat larger(mat.rows + 9, mat.cols + 7, mat.type(), cv::Scalar::all(77));
    cv::Mat part = larger(cv::Rect(5, 3, mat.cols, mat.rows));
    mat.copyTo(part);
    CHECK(!part.isContinuous());
    return part;
}

// What the C ABI says of samples without padding.
std::uint32_t by_hand(adflow_session *session, const cv::Mat &mat, adflow_samples samples, adflow_channels channels) {
    cv::Mat tight = mat.clone();
    CHECK(tight.isContinuous());
    adflow_image image{};
    image.struct_size = sizeof image;
    image.samples = samples;
    image.channels = channels;
    image.width = static_cast<std::uint32_t>(tight.cols);
    image.height = static_cast<std::uint32_t>(tight.rows);
    image.data = tight.data;
    adflow_result result{};
    result.struct_size = sizeof result;
    CHECK(adflow_session_score(session, &image, nullptr, &result) == ADFLOW_STATUS_OK);
    return bits(result.score);
}

template <class Error, class Body>
bool throws(Body body) {
    try {
        body();
    } catch (const Error &) {
        return true;
    }
    return false;
}

void matrices(const char *model, const cv::Mat &bgr, std::uint32_t rgb_score, std::uint32_t grey_score) {
    cv::Ptr<AnomalyDetector> detector = AnomalyDetector::create(model);
    CHECK(bits(detector->detect(bgr).score) == rgb_score);
    CHECK(bits(detector->detect(inside(bgr)).score) == rgb_score);
    CHECK(bits(detector->detect(bgr.getUMat(cv::ACCESS_READ)).score) == rgb_score);

    // Nothing is copied: the description points at the matrix.
    cv::Mat part = inside(bgr);
    adflow::Image described(part);
    CHECK(described.data == part.data && described.row_stride == static_cast<std::ptrdiff_t>(part.step[0]));

    cv::Mat bgra, grey, red[3];
    cv::cvtColor(bgr, bgra, cv::COLOR_BGR2BGRA);
    CHECK(bits(detector->detect(bgra).score) == rgb_score);
    cv::split(bgr, red);
    // The first channel of the picture, red, is its grey twin.
    CHECK(bits(detector->detect(red[2]).score) == grey_score);
    CHECK(bits(detector->detect(inside(red[2])).score) == grey_score);

    adflow::Session session{adflow::Model::open(model)};
    for (double scale : {1.0, 257.0, 13.0}) {
        cv::Mat wide, wide_grey;
        bgr.convertTo(wide, CV_16U, scale);
        red[2].convertTo(wide_grey, CV_16U, scale);
        const std::uint32_t colour = by_hand(session.get(), wide, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_BGR);
        const std::uint32_t one = by_hand(session.get(), wide_grey, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_GREY);
        CHECK(bits(detector->detect(wide).score) == colour && bits(detector->detect(inside(wide)).score) == colour);
        CHECK(bits(detector->detect(wide_grey).score) == one && bits(detector->detect(inside(wide_grey)).score) == one);
    }
    cv::Mat real;
    bgr.convertTo(real, CV_32F, 1 / 255.0);
    CHECK(bits(detector->detect(inside(real)).score) ==
          by_hand(session.get(), real, ADFLOW_SAMPLES_F32, ADFLOW_CHANNELS_BGR));

    CHECK(throws<std::invalid_argument>([&] { detector->detect(cv::Mat(4, 4, CV_32S, cv::Scalar(1))); }));
    CHECK(throws<std::invalid_argument>([&] { detector->detect(cv::Mat(4, 4, CV_8UC2, cv::Scalar(1))); }));
    const int cube[] = {4, 4, 4};
    CHECK(throws<std::invalid_argument>([&] { detector->detect(cv::Mat(3, cube, CV_8U, cv::Scalar(1))); }));
    CHECK(throws<adflow::error>([&] { detector->detect(cv::Mat()); }));
    CHECK(throws<adflow::error>([&] { AnomalyDetector::create("no such model"); }));
}

void maps_and_masks(const char *model, const cv::Mat &bgr) {
    AnomalyDetector::Params params;
    params.masks = true;
    params.threads = 1;
    cv::Ptr<AnomalyDetector> detector = AnomalyDetector::create(model, params);
    cv::Mat map, again, drawn;
    const float score = detector->detect(bgr, map).score;
    CHECK(map.type() == CV_32F && map.size() == bgr.size());
    // A map in somebody else's matrix.
    cv::Mat larger(bgr.rows + 4, bgr.cols + 4, CV_32F, cv::Scalar(-5));
    again = larger(cv::Rect(2, 2, bgr.cols, bgr.rows));
    detector->detect(bgr, again);
    CHECK(again.data == larger.ptr(2) + 2 * sizeof(float));
    CHECK(cv::norm(map, again, cv::NORM_INF) == 0);
    CHECK(larger.at<float>(1, 1) == -5 && larger.at<float>(bgr.rows + 2, bgr.cols + 2) == -5);

    detector->draw(bgr, map, drawn);
    CHECK(drawn.type() == CV_8UC3 && drawn.size() == bgr.size());

    // What the mask hides changes nothing; the map is 0 there.
    cv::Mat mask(bgr.size(), CV_8U, cv::Scalar(0));
    // Not 0 is inside, as everywhere in OpenCV.
    mask(cv::Rect(0, 0, 30, 44)) = 1;
    mask(cv::Rect(0, 0, 30, 20)) = 255;
    const float half = detector->detect(bgr, map, mask).score;
    cv::Mat spoilt = bgr.clone();
    spoilt(cv::Rect(30, 0, bgr.cols - 30, bgr.rows)) = cv::Scalar(255, 0, 255);
    CHECK(bits(detector->detect(spoilt, cv::noArray(), mask).score) == bits(half));
    CHECK(bits(detector->detect(spoilt, again, mask).score) == bits(half));
    CHECK(cv::norm(map, again, cv::NORM_INF) == 0);
    CHECK(cv::countNonZero(map(cv::Rect(31, 0, bgr.cols - 31, bgr.rows))) == 0);
    CHECK(bits(half) != bits(score));
    CHECK(throws<std::invalid_argument>([&] { detector->detect(bgr, cv::noArray(), bgr); }));
    // Without `masks` a mask is an error, not ignored.
    CHECK(throws<adflow::error>([&] { AnomalyDetector::create(model)->detect(bgr, cv::noArray(), mask); }));
}

void saved_and_loaded(const char *model, const cv::Mat &bgr, const std::string &folder) {
    AnomalyDetector::Params params;
    params.threshold = -1;
    params.threads = 1;
    cv::Ptr<AnomalyDetector> detector = AnomalyDetector::create(model, params);
    const adflow::Result result = detector->detect(bgr);
    CHECK(result.verdict == ADFLOW_VERDICT_DEFECTIVE && result.reject == -1);
    detector->save(folder + "/detector.yml");
    cv::Ptr<AnomalyDetector> loaded = cv::Algorithm::load<AnomalyDetector>(folder + "/detector.yml");
    CHECK(loaded && !loaded->empty());
    const adflow::Result same = loaded->detect(bgr);
    CHECK(bits(same.score) == bits(result.score) && same.reject == -1);
    loaded->clear();
    CHECK(loaded->empty());
    CHECK(throws<cv::Exception>([&] { loaded->detect(bgr); }));
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 6);
    const cv::Mat bgr = cv::imread(argv[2], cv::IMREAD_UNCHANGED);
    CHECK(bgr.type() == CV_8UC3);
    const std::string folder = argv[5];
    // `throws` makes OpenCV print; this test has seen enough of it.
    cv::redirectError([](int, const char *, const char *, const char *, int, void *) { return 0; });
    matrices(argv[1], bgr, hex(argv[3]), hex(argv[4]));
    maps_and_masks(argv[1], bgr);
    saved_and_loaded(argv[1], bgr, folder);

    // Three frames as an image sequence and as a video.
    cv::VideoWriter video(folder + "/line.avi", cv::CAP_OPENCV_MJPEG, cv::VideoWriter::fourcc('M', 'J', 'P', 'G'), 25,
                          bgr.size());
    CHECK(video.isOpened());
    cv::utils::fs::createDirectories(folder + "/line");
    for (int i = 0; i < 3; i++) {
        video.write(bgr);
        CHECK(cv::imwrite(folder + cv::format("/line/part_%02d.png", i), bgr));
    }
    std::puts("opencv holds");
}
