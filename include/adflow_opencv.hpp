/* adflow and OpenCV, opt-in: include this instead of adflow.hpp where OpenCV is there.
 *
 *     cv::Mat part = cv::imread("part.png"), map;
 *     adflow::Result result = adflow::score(session, part, map);     // map becomes CV_32F of the size of the part
 *     cv::imwrite("overlay.png", adflow::overlay(part, map, info.map_typical, info.map_limit));
 *
 * Nothing is copied on the way in: a sub-matrix is scored where it lies. adflow.hpp takes a cv::Mat as well; what is here
 * makes maps, masks and pictures of the right size and type. Needs opencv_core and opencv_imgproc. */
#ifndef ADFLOW_OPENCV_HPP
#define ADFLOW_OPENCV_HPP

#include "adflow.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

namespace adflow {

/// The image in a matrix of 1, 3 (BGR) or 4 (BGRA) channels, CV_8U, CV_16U or CV_32F; `white` 0 means that of the type.
/// The matrix must live as long as the result is used. Throws std::invalid_argument.
inline Image image(const cv::Mat &mat, float white = 0) {
    if (mat.dims > 2) throw std::invalid_argument("adflow: images have two dimensions");
    Image image(mat);
    image.white = white;
    return image;
}

/// Scores a matrix. Throws as Session::score.
inline Result score(Session &session, const cv::Mat &mat, float white = 0) { return session.score(image(mat, white)); }

/// Scores a matrix; `map` becomes CV_32F of its size and is allocated only if it is not so already.
inline Result score(Session &session, const cv::Mat &mat, cv::Mat &map, float white = 0) {
    map.create(mat.rows, mat.cols, CV_32F);
    return session.score(image(mat, white), Map(map));
}

/// Scores the part of a matrix that is not 0 in `mask`, CV_8U of the same size; a session made with regions.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, float white = 0) {
    if (mask.type() != CV_8U) throw std::invalid_argument("adflow: masks are CV_8U with one channel");
    Image region = image(mask);
    region.white = 2; // at least half of white: 1 and above
    return session.score_within(image(mat, white), region);
}

/// The same with a map, which becomes CV_32F of the size of the matrix.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, cv::Mat &map, float white = 0) {
    if (mask.type() != CV_8U) throw std::invalid_argument("adflow: masks are CV_8U with one channel");
    Image region = image(mask);
    region.white = 2;
    map.create(mat.rows, mat.cols, CV_32F);
    return session.score_within(image(mat, white), region, Map(map));
}

/// A map as 8-bit grey: `typical` becomes 0, `limit` 128, twice as far 255. The scale is the model's, not the image's, so
/// that a good part stays dark: Info::map_typical and Info::map_limit.
inline cv::Mat grey(const cv::Mat &map, float typical, float limit) {
    const double range = limit > typical ? double(limit) - double(typical) : 1.0;
    cv::Mat out;
    map.convertTo(out, CV_8U, 128.0 / range, -double(typical) * 128.0 / range);
    return out;
}

/// The image with the map over it in colours, BGR of 8 bits; `alpha` is the share of the map where it is highest.
inline cv::Mat overlay(const cv::Mat &mat, const cv::Mat &map, float typical, float limit, double alpha = 0.6) {
    cv::Mat picture, colours, level = grey(map, typical, limit);
    const double scale = mat.depth() == CV_16U ? 1.0 / 257 : mat.depth() == CV_32F ? 255.0 : 1.0;
    mat.convertTo(picture, CV_8U, scale);
    if (picture.channels() == 1) cv::cvtColor(picture, picture, cv::COLOR_GRAY2BGR);
    if (picture.channels() == 4) cv::cvtColor(picture, picture, cv::COLOR_BGRA2BGR);
    if (level.size() != picture.size()) cv::resize(level, level, picture.size());
    cv::applyColorMap(level, colours, cv::COLORMAP_INFERNO);
    for (int y = 0; y < picture.rows; y++)
        for (int x = 0; x < picture.cols; x++) {
            const double share = alpha * level.at<unsigned char>(y, x) / 255.0;
            cv::Vec3b &to = picture.at<cv::Vec3b>(y, x);
            const cv::Vec3b &colour = colours.at<cv::Vec3b>(y, x);
            for (int c = 0; c < 3; c++) to[c] = cv::saturate_cast<unsigned char>((1 - share) * to[c] + share * colour[c]);
        }
    return picture;
}

} // namespace adflow

#endif
