// An inspection line with OpenCV: grab, score, draw, decide, and say how long it took.
//
//     inspect_line MODEL SOURCE [--overlay FOLDER] [--threshold X] [--device NAME] [--threads N] [--frames N]
//
// SOURCE is a folder of images, a video, an image sequence such as part_%03d.png, or the number of a camera. One line a frame:
// name, score, verdict, milliseconds. At the end the latencies: from the frame in memory to the verdict, and of the whole loop.
#include "anomaly_detector.hpp"

#include <opencv2/core/utils/filesystem.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

// Frames with their names, whatever they come from.
class Source {
public:
    explicit Source(const std::string &source) {
        if (cv::utils::fs::isDirectory(source)) {
            std::vector<cv::String> all;
            cv::glob(source + "/*", all);
            for (const cv::String &path : all)
                if (cv::haveImageReader(path)) files_.push_back(path);
            if (files_.empty()) throw std::runtime_error(source + ": no images in this folder");
        } else if (!source.empty() && source.find_first_not_of("0123456789") == std::string::npos) {
            if (!video_.open(std::stoi(source))) throw std::runtime_error("camera " + source + " does not open");
        } else if (!video_.open(source)) {
            throw std::runtime_error(source + ": neither a folder nor a video");
        }
    }

    bool next(cv::Mat &frame, std::string &name) {
        number_++;
        if (!files_.empty()) {
            if (number_ > files_.size()) return false;
            name = files_[number_ - 1];
            // As it is in the file: 16 bits stay 16 bits, grey stays grey.
            frame = cv::imread(name, cv::IMREAD_UNCHANGED);
            if (frame.empty()) throw std::runtime_error(name + " cannot be read");
            return true;
        }
        name = "frame " + std::to_string(number_);
        return video_.read(frame);
    }

private:
    std::vector<cv::String> files_;
    cv::VideoCapture video_;
    std::size_t number_ = 0;
};

void print_percentiles(const char *what, std::vector<double> times) {
    if (times.empty()) return;
    std::sort(times.begin(), times.end());
    // The smallest time that at least this share of the frames does not exceed.
    auto at = [&](double share) {
        auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(times.size())));
        return times[std::min(std::max<std::size_t>(rank, 1), times.size()) - 1];
    };
    std::printf("%-7s p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms\n", what, at(0.5), at(0.9),
                at(0.99), at(0.999), times.back());
}

struct Arguments {
    std::string model, source, overlay;
    AnomalyDetector::Params params;
    std::size_t frames = SIZE_MAX;
};

Arguments parse(int argc, char **argv) {
    Arguments arguments;
    std::vector<std::string> names;
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        if (word.rfind("--", 0) != 0) {
            names.push_back(word);
            continue;
        }
        if (i + 1 == argc) throw std::runtime_error(word + " needs a value");
        const std::string value = argv[++i];
        if (word == "--overlay") arguments.overlay = value;
        else if (word == "--device") arguments.params.device = value;
        else if (word == "--threshold") arguments.params.threshold = std::stod(value);
        else if (word == "--threads") arguments.params.threads = std::stoi(value);
        else if (word == "--frames") arguments.frames = std::stoul(value);
        else throw std::runtime_error("unknown option " + word);
    }
    if (names.size() != 2)
        throw std::runtime_error("usage: inspect_line MODEL SOURCE [--overlay FOLDER] [--threshold X] [--device NAME] "
                                 "[--threads N] [--frames N]");
    arguments.model = names[0];
    arguments.source = names[1];
    return arguments;
}

} // namespace

int main(int argc, char **argv) try {
    const Arguments arguments = parse(argc, argv);
    cv::Ptr<AnomalyDetector> detector = AnomalyDetector::create(arguments.model, arguments.params);
    Source source(arguments.source);
    const bool overlay = !arguments.overlay.empty();
    if (overlay && detector->info().map_width == 0) throw std::runtime_error(arguments.model + " makes no maps");
    if (overlay && !cv::utils::fs::createDirectories(arguments.overlay))
        throw std::runtime_error(arguments.overlay + " cannot be made");

    static const char *const verdicts[] = {"no threshold", "good", "unsure", "defective"};
    std::size_t counts[4] = {};
    std::vector<double> scoring, whole;
    cv::Mat frame, map, drawn;
    std::string name;
    for (std::size_t done = 0; done < arguments.frames; done++) {
        const Clock::time_point start = Clock::now();
        if (!source.next(frame, name)) break;

        const Clock::time_point grabbed = Clock::now();
        const adflow::Result result =
            overlay ? detector->detect(frame, map) : detector->detect(frame);
        scoring.push_back(milliseconds(Clock::now() - grabbed));

        // Here a real line ejects the part.
        counts[result.verdict]++;
        std::printf("%s: score %.9g, %s, %.3f ms\n", name.c_str(), static_cast<double>(result.score),
                    verdicts[result.verdict], scoring.back());

        if (overlay) {
            detector->draw(frame, map, drawn);
            const bool bad = result.verdict == ADFLOW_VERDICT_DEFECTIVE;
            const cv::Scalar colour = bad ? cv::Scalar(40, 40, 232) : cv::Scalar(80, 160, 60);
            cv::rectangle(drawn, {0, 0}, {drawn.cols - 1, drawn.rows - 1}, colour, 2);
            cv::putText(drawn, cv::format("%.4g %s", static_cast<double>(result.score), verdicts[result.verdict]),
                        {6, 16}, cv::FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv::LINE_AA);
            const std::string to = arguments.overlay + cv::format("/%06zu.png", done + 1);
            if (!cv::imwrite(to, drawn)) throw std::runtime_error(to + " cannot be written");
        }
        whole.push_back(milliseconds(Clock::now() - start));
    }
    std::printf("%zu frames: %zu good, %zu unsure, %zu defective, %zu without a threshold\n", whole.size(),
                counts[ADFLOW_VERDICT_GOOD], counts[ADFLOW_VERDICT_UNSURE], counts[ADFLOW_VERDICT_DEFECTIVE],
                counts[ADFLOW_VERDICT_NONE]);
    print_percentiles("scoring", scoring);
    print_percentiles("loop", whole);
    return whole.empty() ? EXIT_FAILURE : EXIT_SUCCESS;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
}
