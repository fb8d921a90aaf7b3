/* The element `adflow` in real pipelines: formats, padded rows, shared buffers, the meta, the messages, the overlay, errors.
 *
 *     gstreamer MODEL RGB GREY
 *
 * RGB and GREY are the bits of the scores of the pictures of check.h. The plug-in is found in GST_PLUGIN_PATH. */
#include "check.h"

#include "../../examples/gstreamer/gstadflowmeta.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <math.h>

static const char *model_path;

typedef struct Run {
    GstElement *pipeline, *element;
    GstAppSrc *source;
    GstAppSink *sink;
    GstBus *bus;
} Run;

/* appsrc ! adflow ! appsink with these caps and properties. */
static Run start(const char *properties, const char *caps)
{
    Run run;
    GError *error = NULL;
    gchar *line = g_strdup_printf("appsrc name=in is-live=false format=time caps=\"%s\" ! adflow name=adflow model=\"%s\" %s "
                                  "! appsink name=out sync=false", caps, model_path, properties);

    run.pipeline = gst_parse_launch(line, &error);
    if (error)
        fprintf(stderr, "%s: %s\n", line, error->message);
    CHECK(run.pipeline && !error);
    run.element = gst_bin_get_by_name(GST_BIN(run.pipeline), "adflow");
    run.source = GST_APP_SRC(gst_bin_get_by_name(GST_BIN(run.pipeline), "in"));
    run.sink = GST_APP_SINK(gst_bin_get_by_name(GST_BIN(run.pipeline), "out"));
    run.bus = gst_element_get_bus(run.pipeline);
    g_free(line);
    gst_element_set_state(run.pipeline, GST_STATE_PLAYING);
    return run;
}

/* The buffer that comes out for one that goes in (which is given away); NULL where the pipeline has failed. */
static GstBuffer *pass(Run *run, GstBuffer *buffer)
{
    GstSample *sample;
    GstBuffer *out;

    if (gst_app_src_push_buffer(run->source, buffer) != GST_FLOW_OK)
        return NULL;
    sample = gst_app_sink_try_pull_sample(run->sink, 60 * GST_SECOND);
    if (!sample)
        return NULL;
    out = gst_buffer_ref(gst_sample_get_buffer(sample));
    gst_sample_unref(sample);
    return out;
}

static void stop(Run *run)
{
    gst_element_set_state(run->pipeline, GST_STATE_NULL);
    gst_object_unref(run->bus);
    gst_object_unref(run->sink);
    gst_object_unref(run->source);
    gst_object_unref(run->element);
    gst_object_unref(run->pipeline);
}

/* The picture of check.h in a format, its rows `padding` bytes longer than they need to be. */
static GstBuffer *picture(GstVideoFormat format, size_t padding)
{
    const GstVideoFormatInfo *info = gst_video_format_get_info(format);
    const size_t bytes = (size_t)GST_VIDEO_FORMAT_INFO_PSTRIDE(info, 0);
    const size_t stride = GST_ROUND_UP_4(WIDTH * bytes) + padding;
    const gboolean wide = format == GST_VIDEO_FORMAT_GRAY16_LE;
    const gboolean grey = format == GST_VIDEO_FORMAT_GRAY8 || wide;
    const gboolean blue_first = format == GST_VIDEO_FORMAT_BGR || format == GST_VIDEO_FORMAT_BGRx || format == GST_VIDEO_FORMAT_BGRA;
    gsize offsets[GST_VIDEO_MAX_PLANES] = {0};
    gint strides[GST_VIDEO_MAX_PLANES] = {(gint)stride};
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, stride * HEIGHT, NULL);
    GstMapInfo map;

    CHECK(gst_buffer_map(buffer, &map, GST_MAP_WRITE));
    memset(map.data, 0x5a, map.size);
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t x = 0; x < WIDTH; x++) {
            guint8 *at = map.data + y * stride + x * bytes;
            if (wide) {
                guint16 value = (guint16)(pixel(x, y, 0) * 257);
                memcpy(at, &value, sizeof value);
            } else if (grey) {
                *at = pixel(x, y, 0);
            } else {
                for (size_t c = 0; c < 3; c++)
                    at[blue_first ? 2 - c : c] = pixel(x, y, c);
            }
        }
    gst_buffer_unmap(buffer, &map);
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, format, WIDTH, HEIGHT, 1, offsets, strides);
    GST_BUFFER_PTS(buffer) = 40 * GST_MSECOND;
    return buffer;
}

static gchar *caps_of(const char *format)
{
    return g_strdup_printf("video/x-raw,format=%s,width=%d,height=%d,framerate=25/1", format, WIDTH, HEIGHT);
}

static const GstAdflowMeta *meta_of(GstBuffer *buffer)
{
    GType type = g_type_from_name(GST_ADFLOW_META_API_NAME);

    CHECK(type != 0 && buffer);
    return (const GstAdflowMeta *)gst_buffer_get_meta(buffer, type);
}

/* The bits of the 16-bit grey picture, from the ABI itself. */
static uint32_t grey16_score(void)
{
    uint16_t pixels[WIDTH * HEIGHT];
    adflow_model *model;
    adflow_session *session;
    uint32_t score;

    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t x = 0; x < WIDTH; x++)
            pixels[y * WIDTH + x] = (uint16_t)(pixel(x, y, 0) * 257);
    CHECK(adflow_model_open(model_path, &model) == ADFLOW_STATUS_OK);
    CHECK(adflow_session_new(model, NULL, &session) == ADFLOW_STATUS_OK);
    score = score_bits(session, describe(pixels, ADFLOW_SAMPLES_U16, ADFLOW_CHANNELS_GREY));
    adflow_session_free(session);
    adflow_model_free(model);
    return score;
}

static void formats(uint32_t rgb, uint32_t grey)
{
    const struct {
        const char *name;
        GstVideoFormat format;
        uint32_t score;
    } all[] = {
        {"RGB", GST_VIDEO_FORMAT_RGB, rgb},   {"BGR", GST_VIDEO_FORMAT_BGR, rgb},
        {"RGBx", GST_VIDEO_FORMAT_RGBx, rgb}, {"BGRx", GST_VIDEO_FORMAT_BGRx, rgb},
        {"RGBA", GST_VIDEO_FORMAT_RGBA, rgb}, {"BGRA", GST_VIDEO_FORMAT_BGRA, rgb},
        {"GRAY8", GST_VIDEO_FORMAT_GRAY8, grey},
        {"GRAY16_LE", GST_VIDEO_FORMAT_GRAY16_LE, grey16_score()},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        for (size_t padding = 0; padding < 50; padding += 24) {
            gchar *caps = caps_of(all[i].name);
            Run run = start("", caps);
            GstBuffer *in = picture(all[i].format, padding), *out;
            GstMapInfo before, after;

            /* A second holder: the pixels must come out as they are, and uncopied. */
            gst_buffer_ref(in);
            out = pass(&run, in);
            CHECK(out && bits(meta_of(out)->score) == all[i].score);
            CHECK(!meta_of(in) && gst_buffer_peek_memory(in, 0) == gst_buffer_peek_memory(out, 0));
            CHECK(gst_buffer_map(in, &before, GST_MAP_READ) && gst_buffer_map(out, &after, GST_MAP_READ));
            CHECK(before.size == after.size && !memcmp(before.data, after.data, before.size));
            gst_buffer_unmap(in, &before);
            gst_buffer_unmap(out, &after);
            gst_buffer_unref(in);
            gst_buffer_unref(out);
            stop(&run);
            g_free(caps);
        }
}

static void messages_and_threshold(uint32_t rgb)
{
    gchar *caps = caps_of("RGB");
    const char *const verdicts[] = {"good", "defective"};
    const char *const properties[] = {"threshold=1e30", "threshold=-1.5"};

    for (size_t i = 0; i < 2; i++) {
        Run run = start(properties[i], caps);

        for (guint64 frame = 0; frame < 2; frame++) {
            GstBuffer *out = pass(&run, picture(GST_VIDEO_FORMAT_RGB, 0));
            GstMessage *message;
            const GstStructure *said;
            gdouble score, threshold;
            guint64 number, pts;

            CHECK(meta_of(out)->verdict == (i ? ADFLOW_VERDICT_DEFECTIVE : ADFLOW_VERDICT_GOOD));
            CHECK(meta_of(out)->threshold == (i ? -1.5f : 1e30f));
            message = gst_bus_timed_pop_filtered(run.bus, 10 * GST_SECOND, GST_MESSAGE_ELEMENT);
            CHECK(message);
            said = gst_message_get_structure(message);
            CHECK(gst_structure_has_name(said, "adflow"));
            CHECK(gst_structure_get(said, "score", G_TYPE_DOUBLE, &score, "threshold", G_TYPE_DOUBLE, &threshold, "frame",
                                    G_TYPE_UINT64, &number, "pts", G_TYPE_UINT64, &pts, NULL));
            CHECK((double)(float)score == score && bits((float)score) == rgb);
            CHECK(threshold == (double)meta_of(out)->threshold && number == frame && pts == 40 * GST_MSECOND);
            CHECK(!strcmp(gst_structure_get_string(said, "verdict"), verdicts[i]));
            gst_message_unref(message);
            gst_buffer_unref(out);
        }
        stop(&run);
    }
    /* Silence, and the model's own threshold in the meta. */
    {
        Run run = start("post-messages=false threads=1", caps);
        GstBuffer *out = pass(&run, picture(GST_VIDEO_FORMAT_RGB, 0));

        CHECK(bits(meta_of(out)->score) == rgb && isfinite(meta_of(out)->threshold));
        CHECK(meta_of(out)->verdict == ADFLOW_VERDICT_GOOD || meta_of(out)->verdict == ADFLOW_VERDICT_DEFECTIVE);
        CHECK(!gst_bus_pop_filtered(run.bus, GST_MESSAGE_ELEMENT));
        gst_buffer_unref(out);
        stop(&run);
    }
    g_free(caps);
}

static void overlay(uint32_t rgb, uint32_t grey)
{
    const struct {
        const char *name;
        GstVideoFormat format;
        uint32_t score;
    } all[] = {{"RGB", GST_VIDEO_FORMAT_RGB, rgb},
               {"BGRx", GST_VIDEO_FORMAT_BGRx, rgb},
               {"GRAY8", GST_VIDEO_FORMAT_GRAY8, grey},
               {"GRAY16_LE", GST_VIDEO_FORMAT_GRAY16_LE, grey16_score()}};

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        gchar *caps = caps_of(all[i].name);
        Run run = start("overlay=true", caps);
        GstBuffer *in = picture(all[i].format, 24), *out;
        GstMapInfo before, after;
        size_t stride, row, changed = 0;

        gst_buffer_ref(in);
        out = pass(&run, in);
        CHECK(bits(meta_of(out)->score) == all[i].score);
        /* The buffer that others hold is left alone; of the other, the padding is. */
        CHECK(gst_buffer_map(in, &before, GST_MAP_READ) && gst_buffer_map(out, &after, GST_MAP_READ));
        CHECK(before.data != after.data);
        row = WIDTH * (size_t)GST_VIDEO_FORMAT_INFO_PSTRIDE(gst_video_format_get_info(all[i].format), 0);
        stride = before.size / HEIGHT;
        for (size_t y = 0; y < HEIGHT; y++) {
            changed += memcmp(before.data + y * stride, after.data + y * stride, row) != 0;
            CHECK(!memcmp(before.data + y * stride + row, after.data + y * stride + row, stride - row));
        }
        CHECK(changed > 0);
        gst_buffer_unmap(in, &before);
        gst_buffer_unmap(out, &after);
        gst_buffer_unref(in);
        gst_buffer_unref(out);
        stop(&run);
        g_free(caps);
    }
}

/* Other caps on the way, and what downstream elements leave of the meta. */
static void another_size(void)
{
    GError *error = NULL;
    gchar *line = g_strdup_printf("concat name=c ! adflow model=\"%s\" overlay=true ! videoconvert ! video/x-raw,format=I420 ! "
                                  "fakesink name=sink  "
                                  "videotestsrc num-buffers=3 ! video/x-raw,format=GRAY8,width=101,height=33 ! c.  "
                                  "videotestsrc num-buffers=2 ! video/x-raw,format=BGR,width=320,height=77 ! c.", model_path);
    GstElement *pipeline = gst_parse_launch(line, &error);
    GstBus *bus = gst_element_get_bus(pipeline);
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    GstMessage *message;
    GstSample *last = NULL;
    guint scores = 0;

    CHECK(pipeline && !error);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    for (;;) {
        message = gst_bus_timed_pop_filtered(bus, 60 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT);
        CHECK(message && GST_MESSAGE_TYPE(message) != GST_MESSAGE_ERROR);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS)
            break;
        scores++;
        gst_message_unref(message);
    }
    gst_message_unref(message);
    CHECK(scores == 5);
    /* videoconvert makes a new buffer; the score has come along. */
    g_object_get(sink, "last-sample", &last, NULL);
    CHECK(last && meta_of(gst_sample_get_buffer(last)));
    gst_sample_unref(last);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(sink);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    g_free(line);
}

/* The pipeline does not start, and the error says why. */
static void refuses(const char *properties, const char *why)
{
    GError *error = NULL;
    gchar *line = g_strdup_printf("videotestsrc num-buffers=1 ! adflow %s ! fakesink", properties);
    GstElement *pipeline = gst_parse_launch(line, &error);
    GstBus *bus = gst_element_get_bus(pipeline);
    GstMessage *message;
    gchar *debug = NULL;

    CHECK(pipeline && !error);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
    CHECK(message);
    gst_message_parse_error(message, &error, &debug);
    if (!strstr(error->message, why))
        fprintf(stderr, "%s: %s\n", properties, error->message);
    CHECK(strstr(error->message, why));
    CHECK(!strncmp(GST_OBJECT_NAME(message->src), "adflow", 6));
    g_error_free(error);
    g_free(debug);
    gst_message_unref(message);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    g_free(line);
}

/* Rows of a web camera; then a buffer too short for its picture: an error on the bus, and the element can start again. */
static void long_rows_and_a_short_buffer(uint32_t rgb)
{
    Run run = start("", "video/x-raw,format=GRAY8,width=20000,height=2,framerate=25/1");
    GstBuffer *in = gst_buffer_new_allocate(NULL, 40000, NULL), *out;
    GstMessage *message;
    gchar *caps;

    gst_buffer_memset(in, 0, 9, 40000);
    out = pass(&run, in);
    CHECK(isfinite(meta_of(out)->score));
    gst_buffer_unref(out);
    CHECK(gst_app_src_push_buffer(run.source, gst_buffer_new_allocate(NULL, 39999, NULL)) == GST_FLOW_OK);
    message = gst_bus_timed_pop_filtered(run.bus, 10 * GST_SECOND, GST_MESSAGE_ERROR);
    CHECK(message);
    gst_message_unref(message);

    gst_element_set_state(run.pipeline, GST_STATE_NULL);
    caps = caps_of("RGB");
    g_object_set(run.source, "caps", gst_caps_from_string(caps), NULL);
    gst_element_set_state(run.pipeline, GST_STATE_PLAYING);
    out = pass(&run, picture(GST_VIDEO_FORMAT_RGB, 0));
    CHECK(bits(meta_of(out)->score) == rgb);
    gst_buffer_unref(out);
    stop(&run);
    g_free(caps);
}

int main(int argc, char **argv)
{
    gchar *of_none;

    CHECK(argc == 4);
    model_path = argv[1];
    gst_init(NULL, NULL);
    formats(hex(argv[2]), hex(argv[3]));
    messages_and_threshold(hex(argv[2]));
    overlay(hex(argv[2]), hex(argv[3]));
    another_size();
    refuses("", "set the property \"model\"");
    refuses("model=/no/such/file.adflow", "/no/such/file.adflow");
    of_none = g_strdup_printf("model=%s", argv[0]);
    refuses(of_none, argv[0]);
    g_free(of_none);
    of_none = g_strdup_printf("model=%s device=vulkan:no-such-card", model_path);
    refuses(of_none, "no-such-card");
    g_free(of_none);
    long_rows_and_a_short_buffer(hex(argv[2]));
    puts("gstreamer holds");
    return 0;
}
