/* Registers the meta of gstadflowmeta.h. A score belongs to a picture whatever becomes of it later (converted, scaled, cut),
 * so the meta has no tags and is copied along. */
#include "gstadflowmeta.h"

#include <math.h>

GType gst_adflow_meta_api_get_type(void)
{
    static gsize type = 0;
    static const gchar *tags[] = {NULL};

    if (g_once_init_enter(&type))
        g_once_init_leave(&type, gst_meta_api_type_register(GST_ADFLOW_META_API_NAME, tags));
    return (GType)type;
}

static gboolean meta_init(GstMeta *meta, gpointer params, GstBuffer *buffer)
{
    GstAdflowMeta *adflow = (GstAdflowMeta *)meta;

    (void)params;
    (void)buffer;
    adflow->score = 0;
    adflow->threshold = NAN;
    adflow->verdict = ADFLOW_VERDICT_NONE;
    return TRUE;
}

static gboolean meta_transform(GstBuffer *to, GstMeta *meta, GstBuffer *from, GQuark type, gpointer data)
{
    const GstAdflowMeta *adflow = (const GstAdflowMeta *)meta;
    GstAdflowMeta *copy = (GstAdflowMeta *)gst_buffer_add_meta(to, gst_adflow_meta_get_info(), NULL);

    (void)from;
    (void)type;
    (void)data;
    if (!copy)
        return FALSE;
    copy->score = adflow->score;
    copy->threshold = adflow->threshold;
    copy->verdict = adflow->verdict;
    return TRUE;
}

const GstMetaInfo *gst_adflow_meta_get_info(void)
{
    static const GstMetaInfo *info = NULL;

    if (g_once_init_enter((GstMetaInfo **)&info)) {
        const GstMetaInfo *made = gst_meta_register(gst_adflow_meta_api_get_type(), "GstAdflowMeta",
                                                    sizeof(GstAdflowMeta), meta_init, NULL, meta_transform);
        g_once_init_leave((GstMetaInfo **)&info, (GstMetaInfo *)made);
    }
    return info;
}

GstAdflowMeta *gst_buffer_set_adflow_meta(GstBuffer *buffer, const adflow_result *result)
{
    GstAdflowMeta *meta = gst_buffer_get_adflow_meta(buffer);

    if (!meta)
        meta = (GstAdflowMeta *)gst_buffer_add_meta(buffer, gst_adflow_meta_get_info(), NULL);
    if (meta) {
        meta->score = result->score;
        meta->threshold = result->reject;
        meta->verdict = (adflow_verdict)result->verdict;
    }
    return meta;
}
