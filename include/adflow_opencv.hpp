/* adflow with OpenCV: include this instead of adflow.hpp in programs that use OpenCV. Needs opencv_core.
 *
 *     cv::Mat part = cv::imread("part.png"), map;
 *     adflow::Result result = adflow::score(session, part, map);     // map becomes CV_32FC1, as large as part
 *     cv::imwrite("overlay.png", adflow::overlay(part, map, info.map_typical, info.map_limit));
 *
 * Input images are not copied, not even sub-matrices. adflow.hpp accepts a cv::Mat as well; the functions here also check
 * dimensions, set the white level, make maps and masks of the right size and type, and draw overlays. */
#ifndef ADFLOW_OPENCV_HPP
#define ADFLOW_OPENCV_HPP

#include "adflow.hpp"
#include "adflow_heat.h"

#include <opencv2/core.hpp>

namespace adflow {

/// Size of a matrix in pixels. Throws std::invalid_argument if it has more than two dimensions.
inline cv::Size size(const cv::Mat &mat) {
    if (mat.dims > 2) throw std::invalid_argument("adflow: images have two dimensions");
    return mat.size();
}

/// Makes an Image of a matrix with 1, 3 (BGR) or 4 (BGRA) channels of CV_8U, CV_16U or CV_32F, without copying: the matrix must
/// outlive the Image. `white` is the value of a white sample, for example 4095 for a 12-bit camera; 0: 255, 65535 or 1 by type.
/// Throws std::invalid_argument for other matrices.
inline Image image(const cv::Mat &mat, float white = 0) {
    size(mat);
    Image image(mat);
    image.white = white;
    return image;
}

/// Makes an Image for the `region` argument of score_within, in which the nonzero pixels of the mask, a CV_8UC1 matrix, are
/// inside. Throws std::invalid_argument for other types.
inline Image region(const cv::Mat &mask) {
    if (mask.type() != CV_8U) throw std::invalid_argument("adflow: masks are CV_8U with one channel");
    return image(mask, 2); // half of white is 1, so 1 and above are inside
}

/// Scores a matrix; `white` is the value of a white sample, 0: 255, 65535 or 1 by type. Throws adflow::error.
inline Result score(Session &session, const cv::Mat &mat, float white = 0) { return session.score(image(mat, white)); }

/// Scores a matrix and writes its anomaly map to `map`, which becomes CV_32FC1 of the same size; it is reallocated only if its
/// size or type differs. Throws adflow::error.
inline Result score(Session &session, const cv::Mat &mat, cv::Mat &map, float white = 0) {
    map.create(size(mat), CV_32F);
    return session.score(image(mat, white), Map(map));
}

/// Scores the pixels of a matrix that are nonzero in `mask`, CV_8UC1 of the same size. The session must have been made with
/// SessionOptions::regions. Throws adflow::error.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, float white = 0) {
    return session.score_within(image(mat, white), region(mask));
}

/// Scores the pixels of a matrix that are nonzero in `mask` and writes the anomaly map, 0 outside, to `map`, which becomes
/// CV_32FC1 of the size of the matrix. Throws adflow::error.
inline Result score_within(Session &session, const cv::Mat &mat, const cv::Mat &mask, cv::Mat &map, float white = 0) {
    map.create(size(mat), CV_32F);
    return session.score_within(image(mat, white), region(mask), Map(map));
}

/// Draws the image in grey with the anomaly map in colour over it, as an 8-bit BGR matrix: the same colours as in the reports of
/// the command line. `map` must be CV_32FC1 of the size of the image. `typical` and `limit` are Info::map_typical and
/// Info::map_limit of the model, so that colours of different images can be compared.
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
