/* Maps as colours, for C and C++: the same scale and colours as the command line's heat maps and reports.
 *
 * level = (value - typical) / (limit - typical), with typical and limit of adflow_model_info (map_typical, map_limit): what good
 * parts have stays clear or faintly blue; level 1 is yellow, and each doubling moves on through orange and red to violet. */
#ifndef ADFLOW_HEAT_H
#define ADFLOW_HEAT_H

#include <float.h>
#include <math.h>

/* 0 at typical, 1 at limit. A value that is not a number is as strange as can be. */
static inline float adflow_heat_level(float value, float typical, float limit)
{
    float span = limit - typical > FLT_MIN ? limit - typical : FLT_MIN;
    float level = (value - typical) / span;
    return level == level ? level : FLT_MAX;
}

/* Red, green and blue of a level, each 0 to 255, and as the result its opacity, 0 to 1. */
static inline float adflow_heat_colour(float level, float rgb[3])
{
    static const float warm[4][3] = {{255, 226, 60}, {255, 150, 20}, {232, 40, 30}, {150, 10, 110}};
    static const float calm[3] = {90, 150, 255};
    float at, t;
    int i, c;

    if (level < 1.0f) {
        t = (level - 0.3f) / 0.7f;
        t = t < 0.0f ? 0.0f : t;
        for (c = 0; c < 3; c++)
            rgb[c] = calm[c];
        return 0.30f * t * t;
    }
    at = log2f(level < 8.0f ? level : 8.0f);
    i = at < 2.0f ? (int)at : 2;
    t = at - (float)i;
    for (c = 0; c < 3; c++)
        rgb[c] = warm[i][c] + (warm[i + 1][c] - warm[i][c]) * t;
    return 0.50f + 0.09f * at;
}

#endif
