/* The GStreamer element `adflow`: scores each picture that passes.
 *
 *     ... ! adflow model=part.adflow ! ...
 *
 * Each buffer gets a GstAdflowMeta (gstadflowmeta.h), and for each an element message named "adflow" is posted on the bus with
 * score, threshold, verdict, frame and pts. With overlay=true the map is drawn over the picture; without it the pixels pass
 * untouched and uncopied. Pictures are scored as they lie in the buffer, strides included. */
#include "gstadflowmeta.h"

#include "adflow_heat.h"

#include <gst/base/gstbasetransform.h>
#include <gst/video/video.h>

#define GST_TYPE_ADFLOW (gst_adflow_get_type())
G_DECLARE_FINAL_TYPE(GstAdflow, gst_adflow, GST, ADFLOW, GstBaseTransform)

struct _GstAdflow {
    GstBaseTransform parent;

    /* properties */
    gchar *model_path;
    gchar *device;
    guint threads;
    gdouble threshold;
    gboolean overlay;
    gboolean messages;

    /* between start and stop */
    adflow_model *model;
    adflow_session *session;
    adflow_model_info info;
    GstVideoInfo video;
    gfloat *map;
    guint64 frame;
};

G_DEFINE_TYPE(GstAdflow, gst_adflow, GST_TYPE_BASE_TRANSFORM)

GST_DEBUG_CATEGORY_STATIC(gst_adflow_debug);
#define GST_CAT_DEFAULT gst_adflow_debug

enum { PROP_0, PROP_MODEL, PROP_DEVICE, PROP_THREADS, PROP_THRESHOLD, PROP_OVERLAY, PROP_MESSAGES };

/* 16 bits in the machine's byte order only: adflow reads no other. */
#define FORMATS "{ GRAY8, " GST_VIDEO_NE(GRAY16) ", RGB, BGR, RGBx, BGRx, RGBA, BGRA }"

static GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS(GST_VIDEO_CAPS_MAKE(FORMATS)));
static GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(GST_VIDEO_CAPS_MAKE(FORMATS)));

static const gchar *verdict_name(guint verdict)
{
    static const gchar *const names[] = {"none", "good", "unsure", "defective"};

    return verdict < G_N_ELEMENTS(names) ? names[verdict] : "none";
}

static gboolean gst_adflow_stop(GstBaseTransform *transform)
{
    GstAdflow *self = GST_ADFLOW(transform);

    adflow_session_free(self->session);
    adflow_model_free(self->model);
    g_clear_pointer(&self->map, g_free);
    self->session = NULL;
    self->model = NULL;
    return TRUE;
}

/* A session for pictures of up to this width (0: what the library takes by default), instead of the one there may be. */
static gboolean make_session(GstAdflow *self, guint max_width)
{
    adflow_session_options options = {
        .struct_size = sizeof options,
        .threads = self->threads,
        .max_width = max_width,
        .no_map = !self->overlay,
        .device = self->device,
    };
    adflow_threshold threshold = {.struct_size = sizeof threshold, .reject = (float)self->threshold};

    adflow_session_free(self->session);
    self->session = NULL;
    if (adflow_session_new(self->model, &options, &self->session) ||
        (self->threshold > -G_MAXDOUBLE && adflow_session_set_threshold(self->session, &threshold))) {
        GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", adflow_last_error()),
                          ("device=%s", self->device ? self->device : "(the CPU)"));
        return FALSE;
    }
    return TRUE;
}

static gboolean gst_adflow_start(GstBaseTransform *transform)
{
    GstAdflow *self = GST_ADFLOW(transform);

    self->frame = 0;
    if (!self->model_path || !*self->model_path) {
        GST_ELEMENT_ERROR(self, RESOURCE, NOT_FOUND, ("No model: set the property \"model\" to a file of adflow train."), (NULL));
        return FALSE;
    }
    if (adflow_model_open(self->model_path, &self->model)) {
        GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ, ("%s", adflow_last_error()), ("model=%s", self->model_path));
        return FALSE;
    }
    self->info = (adflow_model_info){.struct_size = sizeof self->info};
    if (adflow_model_get_info(self->model, &self->info)) {
        GST_ELEMENT_ERROR(self, LIBRARY, FAILED, ("%s", adflow_last_error()), (NULL));
        gst_adflow_stop(transform);
        return FALSE;
    }
    if (self->overlay && self->info.map_width == 0) {
        GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS, ("overlay=true, but %s makes no maps.", self->model_path), (NULL));
        gst_adflow_stop(transform);
        return FALSE;
    }
    if (!make_session(self, 0)) {
        gst_adflow_stop(transform);
        return FALSE;
    }
    GST_INFO_OBJECT(self, "%s: %s on %s, adflow %s", self->model_path, self->info.method, self->info.backbone, adflow_version());
    return TRUE;
}

static gboolean gst_adflow_set_caps(GstBaseTransform *transform, GstCaps *in, GstCaps *out)
{
    GstAdflow *self = GST_ADFLOW(transform);

    (void)out;
    if (!gst_video_info_from_caps(&self->video, in)) {
        GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("These caps do not describe a picture."), (NULL));
        return FALSE;
    }
    /* Web cameras have longer rows than a session takes by default. */
    if (GST_VIDEO_INFO_WIDTH(&self->video) > 16384 && !make_session(self, (guint)GST_VIDEO_INFO_WIDTH(&self->video)))
        return FALSE;
    if (self->overlay) {
        gsize pixels = (gsize)GST_VIDEO_INFO_WIDTH(&self->video) * (gsize)GST_VIDEO_INFO_HEIGHT(&self->video);

        g_free(self->map);
        self->map = g_try_new(gfloat, pixels);
        if (!self->map) {
            GST_ELEMENT_ERROR(self, RESOURCE, NO_SPACE_LEFT, ("No memory for a map of %" G_GSIZE_FORMAT " pixels.", pixels), (NULL));
            return FALSE;
        }
    }
    return TRUE;
}

/* The picture of a buffer, where it lies. */
static adflow_image describe(const GstVideoFrame *frame)
{
    adflow_image image = {
        .struct_size = sizeof image,
        .samples = ADFLOW_SAMPLES_U8,
        .width = (uint32_t)GST_VIDEO_FRAME_WIDTH(frame),
        .height = (uint32_t)GST_VIDEO_FRAME_HEIGHT(frame),
        .data = GST_VIDEO_FRAME_PLANE_DATA(frame, 0),
        .row_stride = GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0),
    };

    switch (GST_VIDEO_FRAME_FORMAT(frame)) {
    case GST_VIDEO_FORMAT_GRAY16_LE:
    case GST_VIDEO_FORMAT_GRAY16_BE:
        image.samples = ADFLOW_SAMPLES_U16;
        image.channels = ADFLOW_CHANNELS_GREY;
        break;
    case GST_VIDEO_FORMAT_RGB: image.channels = ADFLOW_CHANNELS_RGB; break;
    case GST_VIDEO_FORMAT_BGR: image.channels = ADFLOW_CHANNELS_BGR; break;
    case GST_VIDEO_FORMAT_RGBx:
    case GST_VIDEO_FORMAT_RGBA: image.channels = ADFLOW_CHANNELS_RGBA; break;
    case GST_VIDEO_FORMAT_BGRx:
    case GST_VIDEO_FORMAT_BGRA: image.channels = ADFLOW_CHANNELS_BGRA; break;
    default: image.channels = ADFLOW_CHANNELS_GREY; break;
    }
    return image;
}

/* The map's colours over a colour picture, which becomes grey; over a grey one, strange pixels become white. */
static void draw(const GstAdflow *self, GstVideoFrame *frame, const adflow_image *image)
{
    const gboolean red_first = image->channels == ADFLOW_CHANNELS_RGB || image->channels == ADFLOW_CHANNELS_RGBA;
    const guint red = red_first ? 0 : 2, blue = 2 - red;
    const guint step = (guint)GST_VIDEO_FRAME_COMP_PSTRIDE(frame, 0);
    gfloat rgb[3];

    for (guint y = 0; y < image->height; y++) {
        guint8 *pixel = (guint8 *)GST_VIDEO_FRAME_PLANE_DATA(frame, 0) + (gsize)y * (gsize)image->row_stride;
        const gfloat *values = self->map + (gsize)y * image->width;

        for (guint x = 0; x < image->width; x++, pixel += step) {
            gfloat opacity = adflow_heat_colour(adflow_heat_level(values[x], self->info.map_typical, self->info.map_limit), rgb);
            gfloat clear = 1.0f - opacity;

            if (image->samples == ADFLOW_SAMPLES_U16) {
                guint16 *wide = (guint16 *)(gpointer)pixel;
                *wide = (guint16)((gfloat)*wide * clear + 65535.0f * opacity);
            } else if (image->channels == ADFLOW_CHANNELS_GREY) {
                *pixel = (guint8)((gfloat)*pixel * clear + 255.0f * opacity);
            } else {
                gfloat grey = 0.299f * (gfloat)pixel[red] + 0.587f * (gfloat)pixel[1] + 0.114f * (gfloat)pixel[blue];
                pixel[red] = (guint8)(grey * clear + rgb[0] * opacity + 0.5f);
                pixel[1] = (guint8)(grey * clear + rgb[1] * opacity + 0.5f);
                pixel[blue] = (guint8)(grey * clear + rgb[2] * opacity + 0.5f);
            }
        }
    }
}

static GstFlowReturn gst_adflow_transform_ip(GstBaseTransform *transform, GstBuffer *buffer)
{
    GstAdflow *self = GST_ADFLOW(transform);
    adflow_result result = {.struct_size = sizeof result};
    adflow_map map = {.struct_size = sizeof map};
    adflow_image image;
    adflow_status status;
    GstVideoFrame frame;

    /* Mapped for reading only unless drawn on, so that a buffer which others hold too is not copied. */
    if (!gst_video_frame_map(&frame, &self->video, buffer, self->overlay ? GST_MAP_READWRITE : GST_MAP_READ)) {
        GST_ELEMENT_ERROR(self, RESOURCE, READ, ("The picture %" G_GUINT64_FORMAT " cannot be mapped.", self->frame), (NULL));
        return GST_FLOW_ERROR;
    }
    image = describe(&frame);
    map.width = image.width;
    map.height = image.height;
    map.data = self->map;
    status = adflow_session_score(self->session, &image, self->overlay ? &map : NULL, &result);
    if (status == ADFLOW_STATUS_OK && self->overlay)
        draw(self, &frame, &image);
    gst_video_frame_unmap(&frame);
    if (status != ADFLOW_STATUS_OK) {
        GST_ELEMENT_ERROR(self, STREAM, FAILED, ("%s", adflow_last_error()), ("picture %" G_GUINT64_FORMAT, self->frame));
        return GST_FLOW_ERROR;
    }

    if (!gst_buffer_set_adflow_meta(buffer, &result)) {
        GST_ELEMENT_ERROR(self, STREAM, FAILED, ("The score cannot be attached to picture %" G_GUINT64_FORMAT ".", self->frame),
                          (NULL));
        return GST_FLOW_ERROR;
    }
    if (self->messages) {
        /* A float is exact as a double. */
        GstStructure *said = gst_structure_new("adflow", "score", G_TYPE_DOUBLE, (gdouble)result.score,
                                               "threshold", G_TYPE_DOUBLE, (gdouble)result.reject,
                                               "verdict", G_TYPE_STRING, verdict_name(result.verdict),
                                               "frame", G_TYPE_UINT64, self->frame,
                                               "pts", G_TYPE_UINT64, GST_BUFFER_PTS(buffer), NULL);
        gst_element_post_message(GST_ELEMENT(self), gst_message_new_element(GST_OBJECT(self), said));
    }
    self->frame++;
    return GST_FLOW_OK;
}

static void gst_adflow_set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
    GstAdflow *self = GST_ADFLOW(object);

    switch (id) {
    case PROP_MODEL:
        g_free(self->model_path);
        self->model_path = g_value_dup_string(value);
        break;
    case PROP_DEVICE:
        g_free(self->device);
        self->device = g_value_dup_string(value);
        break;
    case PROP_THREADS: self->threads = g_value_get_uint(value); break;
    case PROP_THRESHOLD: self->threshold = g_value_get_double(value); break;
    case PROP_OVERLAY: self->overlay = g_value_get_boolean(value); break;
    case PROP_MESSAGES: self->messages = g_value_get_boolean(value); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec); break;
    }
}

static void gst_adflow_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    GstAdflow *self = GST_ADFLOW(object);

    switch (id) {
    case PROP_MODEL: g_value_set_string(value, self->model_path); break;
    case PROP_DEVICE: g_value_set_string(value, self->device); break;
    case PROP_THREADS: g_value_set_uint(value, self->threads); break;
    case PROP_THRESHOLD: g_value_set_double(value, self->threshold); break;
    case PROP_OVERLAY: g_value_set_boolean(value, self->overlay); break;
    case PROP_MESSAGES: g_value_set_boolean(value, self->messages); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec); break;
    }
}

static void gst_adflow_finalize(GObject *object)
{
    GstAdflow *self = GST_ADFLOW(object);

    g_free(self->model_path);
    g_free(self->device);
    G_OBJECT_CLASS(gst_adflow_parent_class)->finalize(object);
}

static void gst_adflow_class_init(GstAdflowClass *class)
{
    GObjectClass *object = G_OBJECT_CLASS(class);
    GstElementClass *element = GST_ELEMENT_CLASS(class);
    GstBaseTransformClass *transform = GST_BASE_TRANSFORM_CLASS(class);
    const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

    object->set_property = gst_adflow_set_property;
    object->get_property = gst_adflow_get_property;
    object->finalize = gst_adflow_finalize;
    g_object_class_install_property(
        object, PROP_MODEL, g_param_spec_string("model", "Model", "Model file of adflow train; required", NULL, flags));
    g_object_class_install_property(
        object, PROP_DEVICE,
        g_param_spec_string("device", "Device",
                            "Where the model runs: auto, cpu, vulkan, vulkan:N or vulkan:NAME; not set: the CPU", NULL, flags));
    g_object_class_install_property(
        object, PROP_THREADS,
        g_param_spec_uint("threads", "Threads", "Threads that work on one picture; 0: one per processor", 0, G_MAXINT, 0, flags));
    g_object_class_install_property(
        object, PROP_THRESHOLD,
        g_param_spec_double("threshold", "Threshold", "Scores above this are defective; lowest: the model's own threshold",
                            -G_MAXDOUBLE, G_MAXDOUBLE, -G_MAXDOUBLE, flags));
    g_object_class_install_property(
        object, PROP_OVERLAY,
        g_param_spec_boolean("overlay", "Overlay", "Draw the map over the picture", FALSE, flags));
    g_object_class_install_property(
        object, PROP_MESSAGES,
        g_param_spec_boolean("post-messages", "Post messages", "Post a message on the bus for each picture", TRUE, flags));

    gst_element_class_set_static_metadata(element, "Anomaly detection", "Filter/Analyzer/Video",
                                          "Scores each picture with a model that has learnt from good parts",
                                          "The adflow developers");
    gst_element_class_add_static_pad_template(element, &sink_template);
    gst_element_class_add_static_pad_template(element, &src_template);

    transform->start = gst_adflow_start;
    transform->stop = gst_adflow_stop;
    transform->set_caps = gst_adflow_set_caps;
    transform->transform_ip = gst_adflow_transform_ip;
    GST_DEBUG_CATEGORY_INIT(gst_adflow_debug, "adflow", 0, "anomaly detection");
}

static void gst_adflow_init(GstAdflow *self)
{
    self->threshold = -G_MAXDOUBLE;
    self->messages = TRUE;
    gst_base_transform_set_in_place(GST_BASE_TRANSFORM(self), TRUE);
}

static gboolean plugin_init(GstPlugin *plugin)
{
    return gst_element_register(plugin, "adflow", GST_RANK_NONE, GST_TYPE_ADFLOW);
}

#ifndef PACKAGE
#define PACKAGE "adflow"
#endif
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, adflow, "Anomaly detection for the inspection line", plugin_init, "0.1.0",
                  "MIT/X11", "adflow", "https://github.com/adflow/adflow")
