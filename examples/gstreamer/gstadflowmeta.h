/* What the element `adflow` attaches to a buffer: the score of its picture.
 *
 *     GstAdflowMeta *meta = gst_buffer_get_adflow_meta(buffer);
 *     if (meta && meta->verdict == ADFLOW_VERDICT_DEFECTIVE) eject();
 *
 * An element or a program that reads it needs this header only and links the plug-in, or looks the type up by its name. */
#ifndef GST_ADFLOW_META_H
#define GST_ADFLOW_META_H

#include <gst/gst.h>

#include "adflow.h"

G_BEGIN_DECLS

/* Name of the type, for g_type_from_name: a program that does not link the plug-in finds the meta with it. */
#define GST_ADFLOW_META_API_NAME "GstAdflowMetaAPI"

typedef struct GstAdflowMeta {
    GstMeta meta;
    gfloat score;           /* larger is stranger; the bits of adflow_result.score */
    gfloat threshold;       /* scores above it are defective; NaN if there is none */
    adflow_verdict verdict; /* ADFLOW_VERDICT_NONE without a threshold */
} GstAdflowMeta;

GType gst_adflow_meta_api_get_type(void);
const GstMetaInfo *gst_adflow_meta_get_info(void);

#define gst_buffer_get_adflow_meta(buffer) \
    ((GstAdflowMeta *)gst_buffer_get_meta((buffer), gst_adflow_meta_api_get_type()))

/* The buffer must be writable; a meta that it already has is overwritten. */
GstAdflowMeta *gst_buffer_set_adflow_meta(GstBuffer *buffer, const adflow_result *result);

G_END_DECLS

#endif
