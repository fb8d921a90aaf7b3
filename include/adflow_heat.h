/* Colours for anomaly maps, for C and C++: the scale and colours of the command line's heat maps and reports.
 *
 * A value of a map becomes a level, (value - typical) / (limit - typical), where typical and limit are map_typical and map_limit
 * of adflow_model_info. Levels below 1 occur on good parts and are transparent to faintly blue. Level 1 is yellow, 2 orange,
 * 4 red, and 8 and above violet. */
#ifndef ADFLOW_HEAT_H
#define ADFLOW_HEAT_H

#include <float.h>
#include <math.h>

/* Returns the level of a map value: 0 at typical, 1 at limit. NaN gives the highest level, FLT_MAX. */
static inline float adflow_heat_level(float value, float typical, float limit)
{
    float span = limit - typical > FLT_MIN ? limit - typical : FLT_MIN;
    float level = (value - typical) / span;
    return level == level ? level : FLT_MAX;
}

/* Writes the colour of a level to rgb, red, green and blue from 0 to 255, and returns its opacity, from 0 to 1. */
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
