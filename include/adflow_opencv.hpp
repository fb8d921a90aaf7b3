/* adflow and OpenCV, opt-in: include this instead of adflow.hpp where OpenCV is there.
 *
 *     cv::Mat part = cv::imread("part.png"), map;
 *     adflow::Result result = adflow::score(session, part, map);     // map becomes CV_32F of the size of the part
 *     cv::imwrite("overlay.png", adflow::overlay(part, map, info.map_typical, info.map_limit));
 *
 * Nothing is copied on the way in: a sub-matrix is scored where it lies. adflow.hpp takes a cv::Mat as well; what is here
 * makes maps, masks and pictures of the right size and type. Needs opencv_core. */
#ifndef ADFLOW_OPENCV_HPP
#define ADFLOW_OPENCV_HPP

#include "adflow.hpp"
#include "adflow_heat.h"

#include <opencv2/core.hpp>

namespace adflow {

/// Rows and columns of a matrix that is an image. Throws std::invalid_argument.
inline cv::Size size(const cv::Mat &mat) {
    if (mat.dims > 2) throw std::invalid_argument("adflow: images have two dimensions");
    return mat.size();
}

/// The image in a matrix of 1, 3 (BGR) or 4 (BGRA) channels, CV_8U, CV_16U or CV_32F; `white` 0 means that of the type.
/// The matrix must live as long as the result is used. Throws std::invalid_argument.
inline Image image(const cv::Mat &mat, float white = 0) {
    size(mat);
    Image image(mat);
    image.white = white;
    return image;
}

/// What is not 0 in a mask, CV_8U of one channel, as the image that is a region. Throws std::invalid_argument.
inline Image region(const cv::Mat &mask) {
    if (mask.type() != CV_8U) throw std::invalid_argument("adflow: masks are CV_8U with one channel");
    return image(mask, 2); // at least half of white: 1 and above
}

/// Scores a matrix. Throws as Session::score.
inline Result score(Session &session, const cv::Mat &mat, float white = 0) { return session.score(image(mat, white)); }

/// Scores a matrix; `map` becomes CV_32F of its size and is allocated only if it is not so already.
inline Result score(Session &session, const cv::Mat &mat, cv::Mat &map, float white = 0) {
    map.create(size(mat), CV_32F);
    return session.score(image(mat, white), Map(map));
}

/// Scores the part of a matrix that is not 0 in `mask`, CV_8U of the same size; a session made with regions.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, float white = 0) {
    return session.score_within(image(mat, white), region(mask));
}

/// The same with a map, which becomes CV_32F of the size of the matrix.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, cv::Mat &map, float white = 0) {
    map.create(size(mat), CV_32F);
    return session.score_within(image(mat, white), region(mask), Map(map));
}

/// The image in grey with the map's colours over it, BGR of 8 bits, as the command line draws it: what good parts have
/// stays calm. `typical` and `limit` are Info::map_typical and Info::map_limit: the model's scale, not the image's.
inline cv::Mat overlay(const cv::Mat &mat, const cv::Mat &map, float typical, float limit) {
    CV_Assert(map.type() == CV_32F && map.size() == size(mat));
    cv::Mat bytes, out(mat.size(), CV_8UC3);
    mat.convertTo(bytes, CV_8U, mat.depth() == CV_8U ? 1.0 : mat.depth() == CV_16U ? 1 / 257.0 : 255.0);
    const int channels = bytes.channels();
    for (int y = 0; y < out.rows; y++) {
        const uchar *from = bytes.ptr<uchar>(y);
        const float *value = map.ptr<float>(y);
        cv::Vec3b *pixel = out.ptr<cv::Vec3b>(y);
        for (int x = 0; x < out.cols; x++, from += channels) {
            float grey = from[0];
            if (channels >= 3)
                grey = 0.114f * static_cast<float>(from[0]) + 0.587f * static_cast<float>(from[1]) +
                       0.299f * static_cast<float>(from[2]);
            float rgb[3];
            const float opacity = adflow_heat_colour(adflow_heat_level(value[x], typical, limit), rgb);
            for (int c = 0; c < 3; c++)
                pixel[x][c] = cv::saturate_cast<uchar>(grey * (1 - opacity) + rgb[2 - c] * opacity);
        }
    }
    return out;
}

} // namespace adflow

#endif
