/* adflow: anomaly detection for the inspection line with normalizing flows, trained from good parts only.
 *
 * Generated from ffi/src; do not edit.
 *
 * Open or train a model, make a session for each camera, score images:
 *
 *     adflow_model *model;
 *     adflow_session *session;
 *     adflow_image image = {.struct_size = sizeof image, .width = 640, .height = 480, .data = pixels};
 *     adflow_result result = {.struct_size = sizeof result};
 *     if (adflow_model_open("part.adflow", &model) || adflow_session_new(model, NULL, &session) ||
 *         adflow_session_score(session, &image, NULL, &result))
 *         fprintf(stderr, "%s\n", adflow_last_error());
 *
 * Errors. Functions that can fail return an adflow_status, 0 for done; adflow_last_error() says more. Results are
 * written on success only. Nothing is printed, and no exception, signal or abort comes from a mistake of the caller
 * that can be seen: NULL, sizes, strides, numbers that mean nothing.
 *
 * Ownership. What _new, _open, _from_memory or _run gives belongs to the caller and goes back through the _free of its
 * type; NULL may be freed. Pointers to const that are handed in are used during the call only.
 *
 * Versions. Structs begin with struct_size: zero the whole struct and set it to sizeof. Zero in any other field means the
 * default. Programs compiled with an older adflow.h work with a newer library; numbers of enums never change.
 *
 * Threads. Each function states its class. Reentrant: any thread at any time, also on the same objects. Local: one thread
 * at a time for the same object; on different objects at the same time. Where a second thread can be seen, the status is
 * ADFLOW_STATUS_BUSY.
 *
 * Text is UTF-8 and ends with a NUL. Paths are the bytes that the system uses, UTF-8 on Windows. */


#ifndef ADFLOW_H
#define ADFLOW_H

#include <stddef.h>
#include <stdint.h>

/**
 * What came of a call. Numbers never change their meaning.
 */
typedef enum adflow_status {
    /**
     * Done.
     */
    ADFLOW_STATUS_OK = 0,
    /**
     * A pointer is NULL that must not be.
     */
    ADFLOW_STATUS_NULL = 1,
    /**
     * An argument or a field of an options struct is out of range.
     */
    ADFLOW_STATUS_ARGUMENT = 2,
    /**
     * The image is empty, too wide, badly described, or has a pixel that is NaN or infinite.
     */
    ADFLOW_STATUS_IMAGE = 3,
    /**
     * The bytes are not a model, are damaged, or were written by a version that this library does not read.
     */
    ADFLOW_STATUS_MODEL = 4,
    /**
     * A file cannot be read or written.
     */
    ADFLOW_STATUS_IO = 5,
    /**
     * There is nothing of that name or number.
     */
    ADFLOW_STATUS_NOT_FOUND = 6,
    /**
     * This library is too old for what is asked.
     */
    ADFLOW_STATUS_UNSUPPORTED = 7,
    /**
     * This model or session makes no maps.
     */
    ADFLOW_STATUS_NO_MAP = 8,
    /**
     * Another thread, or a callback, is using the object.
     */
    ADFLOW_STATUS_BUSY = 9,
    /**
     * The progress callback has asked to stop.
     */
    ADFLOW_STATUS_CANCELLED = 10,
    /**
     * There are too few training images.
     */
    ADFLOW_STATUS_TOO_FEW_IMAGES = 11,
    /**
     * Training has failed: the images are all alike, or the loss is no longer a number.
     */
    ADFLOW_STATUS_TRAINING = 12,
    /**
     * A checkpoint belongs to other images or options, or is damaged.
     */
    ADFLOW_STATUS_CHECKPOINT = 13,
    /**
     * A backbone's weights cannot be used.
     */
    ADFLOW_STATUS_WEIGHTS = 14,
    /**
     * The buffer is too small; the length needed has been written.
     */
    ADFLOW_STATUS_BUFFER_TOO_SMALL = 15,
    /**
     * There is not enough memory.
     */
    ADFLOW_STATUS_OUT_OF_MEMORY = 16,
    /**
     * A mistake in adflow. The objects of the call are still valid.
     */
    ADFLOW_STATUS_INTERNAL = 17,
    /**
     * The GPU that was asked for is not there, cannot do it, or has failed for good.
     */
    ADFLOW_STATUS_DEVICE = 18,
    /**
     * The deadline of the session has passed before the image was scored.
     */
    ADFLOW_STATUS_TIMED_OUT = 19,
    /**
     * The handle has been freed, or is one of another type. Only found by a library that was built for debugging.
     */
    ADFLOW_STATUS_HANDLE = 20,
} adflow_status;

/**
 * Channels of an image, in the order of their samples or planes.
 */
typedef enum adflow_channels {
    /**
     * One channel.
     */
    ADFLOW_CHANNELS_GREY = 0,
    /**
     * Red, green, blue.
     */
    ADFLOW_CHANNELS_RGB = 1,
    /**
     * Blue, green, red.
     */
    ADFLOW_CHANNELS_BGR = 2,
    /**
     * Red, green, blue and a fourth that is not read.
     */
    ADFLOW_CHANNELS_RGBA = 3,
    /**
     * Blue, green, red and a fourth that is not read.
     */
    ADFLOW_CHANNELS_BGRA = 4,
} adflow_channels;

/**
 * How a region is described.
 */
typedef enum adflow_region_kind {
    /**
     * `x`, `y`, `width`, `height`.
     */
    ADFLOW_REGION_KIND_RECTANGLE = 0,
    /**
     * `runs`, as a HALCON domain.
     */
    ADFLOW_REGION_KIND_RUNS = 1,
    /**
     * `mask`.
     */
    ADFLOW_REGION_KIND_MASK = 2,
} adflow_region_kind;

/**
 * How much a message matters.
 */
typedef enum adflow_log_level {
    /**
     * No messages.
     */
    ADFLOW_LOG_LEVEL_NONE = 0,
    /**
     * A call has failed; the text is that of `adflow_last_error`.
     */
    ADFLOW_LOG_LEVEL_ERROR = 1,
    /**
     * Something that a person should know, for example a remark about training images.
     */
    ADFLOW_LOG_LEVEL_WARNING = 2,
    /**
     * What happens rarely: a model is opened, a session made.
     */
    ADFLOW_LOG_LEVEL_INFO = 3,
} adflow_log_level;

/**
 * Type of an image's samples.
 */
typedef enum adflow_samples {
    /**
     * 8 bits.
     */
    ADFLOW_SAMPLES_U8 = 0,
    /**
     * Up to 16 bits, in the byte order of the machine.
     */
    ADFLOW_SAMPLES_U16 = 1,
    /**
     * 32-bit floats.
     */
    ADFLOW_SAMPLES_F32 = 2,
} adflow_samples;

/**
 * What to do with a part.
 */
typedef enum adflow_verdict {
    /**
     * There is no threshold, so there is no verdict.
     */
    ADFLOW_VERDICT_NONE = 0,
    /**
     * The score is not above the threshold, nor in the grey zone.
     */
    ADFLOW_VERDICT_GOOD = 1,
    /**
     * The score lies in the grey zone: a person should look.
     */
    ADFLOW_VERDICT_UNSURE = 2,
    /**
     * The score is above the threshold, or not a number.
     */
    ADFLOW_VERDICT_DEFECTIVE = 3,
} adflow_verdict;

/**
 * A detection method.
 */
typedef enum adflow_method {
    /**
     * `ADFLOW_METHOD_PADIM`.
     */
    ADFLOW_METHOD_DEFAULT = 0,
    /**
     * Continuous dense flow on pooled features of several scales.
     */
    ADFLOW_METHOD_CDNF = 1,
    /**
     * RealNVP flow on pooled features of several scales (Rudolph et al. 2021).
     */
    ADFLOW_METHOD_DIFFERNET = 2,
    /**
     * A Gaussian at each position of a feature map (Defard et al. 2021): trains in seconds.
     */
    ADFLOW_METHOD_PADIM = 3,
    /**
     * One Gaussian over pooled features: trains in seconds.
     */
    ADFLOW_METHOD_GAUSS = 4,
    /**
     * A flow over feature maps, conditioned on the position.
     */
    ADFLOW_METHOD_POSFLOW = 5,
    /**
     * 2D flows over feature maps (Yu et al. 2021).
     */
    ADFLOW_METHOD_FASTFLOW = 6,
    /**
     * One flow over feature maps at three scales (Rudolph et al. 2022).
     */
    ADFLOW_METHOD_CSFLOW = 7,
    /**
     * 2D flows over feature maps, trained against synthetic anomalies.
     */
    ADFLOW_METHOD_SSNF = 8,
    /**
     * Distance to the nearest of a memory of good features (Roth et al. 2022).
     */
    ADFLOW_METHOD_PATCHCORE = 9,
} adflow_method;

/**
 * A set of defaults for training.
 */
typedef enum adflow_preset {
    /**
     * `ADFLOW_PRESET_FAST`.
     */
    ADFLOW_PRESET_DEFAULT = 0,
    /**
     * A fixed list of exact views, features computed once: minutes on two cores.
     */
    ADFLOW_PRESET_FAST = 1,
    /**
     * The papers' literal settings: large images, fresh random rotations in every epoch, many views when scoring.
     */
    ADFLOW_PRESET_PAPER = 2,
} adflow_preset;

/**
 * How the energies of several grids become one map, on the finest of them.
 */
typedef enum adflow_map_levels {
    /**
     * What the method chooses.
     */
    ADFLOW_MAP_LEVELS_DEFAULT = 0,
    /**
     * High where every grid is: the product of their energies, as in anomalib's CS-Flow.
     */
    ADFLOW_MAP_LEVELS_PRODUCT = 1,
    /**
     * High where any grid is: the sum of their energies.
     */
    ADFLOW_MAP_LEVELS_SUM = 2,
    /**
     * The finest grid alone, as in CS-Flow's published code.
     */
    ADFLOW_MAP_LEVELS_FINEST = 3,
} adflow_map_levels;

/**
 * What is kept of each channel of a map when the map becomes a vector.
 */
typedef enum adflow_pooling {
    /**
     * `ADFLOW_POOLING_MEAN`.
     */
    ADFLOW_POOLING_DEFAULT = 0,
    /**
     * The mean of each channel, as in CDNF and DifferNet.
     */
    ADFLOW_POOLING_MEAN = 1,
    /**
     * Mean and standard deviation of each channel: statistics pooling.
     */
    ADFLOW_POOLING_STATISTICS = 2,
} adflow_pooling;

/**
 * How far from a position a vector of a memory may have been taken to be compared with it, in cells of the grid.
 */
typedef enum adflow_radius {
    /**
     * What the method chooses.
     */
    ADFLOW_RADIUS_DEFAULT = 0,
    /**
     * At the position itself: parts that lie still to a few pixels.
     */
    ADFLOW_RADIUS_SAME = 1,
    /**
     * At most one cell away in each direction.
     */
    ADFLOW_RADIUS_ONE = 2,
    /**
     * At most two cells away in each direction.
     */
    ADFLOW_RADIUS_TWO = 3,
    /**
     * Anywhere: webs, and parts that lie differently each time.
     */
    ADFLOW_RADIUS_ALL = 4,
} adflow_radius;

/**
 * What training is doing.
 */
typedef enum adflow_phase {
    /**
     * Reading images and computing features.
     */
    ADFLOW_PHASE_FEATURES = 0,
    /**
     * Fitting the model.
     */
    ADFLOW_PHASE_TRAIN = 1,
    /**
     * Scoring the parts that were set aside.
     */
    ADFLOW_PHASE_CALIBRATE = 2,
    /**
     * Adapting the backbone, before features are computed.
     */
    ADFLOW_PHASE_ADAPT = 3,
} adflow_phase;

/**
 * What kind of device it is, the best first.
 */
typedef enum adflow_device_kind {
    /**
     * A graphics card with memory of its own.
     */
    ADFLOW_DEVICE_KIND_DISCRETE = 0,
    /**
     * A GPU that shares the processor's memory.
     */
    ADFLOW_DEVICE_KIND_INTEGRATED = 1,
    /**
     * A GPU handed to a virtual machine.
     */
    ADFLOW_DEVICE_KIND_VIRTUAL = 2,
    /**
     * Software on the CPU, such as lavapipe: for tests.
     */
    ADFLOW_DEVICE_KIND_SOFTWARE = 3,
    /**
     * Anything else.
     */
    ADFLOW_DEVICE_KIND_OTHER = 4,
} adflow_device_kind;

/**
 * A trained detector: immutable but for its threshold, and shared by any number of sessions and threads.
 */
typedef struct adflow_model adflow_model;

/**
 * A model bound to threads and memory.
 *
 * One thread at a time may use a session; different sessions, of one model or several, run at the same time.
 */
typedef struct adflow_session adflow_session;

/**
 * Images of good parts, and what is to be made of them. One thread at a time may use a trainer.
 */
typedef struct adflow_trainer adflow_trainer;

/**
 * Gets a message; `level` is one of `adflow_log_level`. The text lives during the call.
 *
 * It is called on the thread of the adflow function that has something to say, one of several at the same time. It must
 * return: no exception and no longjmp may leave it. It may call adflow; what such calls have to say is not logged.
 */
typedef void (*adflow_log_fn)(uint32_t level, const char *message, void *user_data);

/**
 * A GPU that options can name. The caller sets `struct_size`.
 */
typedef struct adflow_device_description {
    /**
     * sizeof(adflow_device_description).
     */
    uint32_t struct_size;
    /**
     * One of `adflow_device_kind`.
     */
    uint32_t kind;
    /**
     * Bytes of device memory.
     */
    uint64_t memory;
    /**
     * Its name, cut where it is longer.
     */
    char name[256];
    /**
     * Identifies it across runs: 32 hexadecimal digits.
     */
    char uuid[40];
} adflow_device_description;

/**
 * Facts about a model. The caller sets `struct_size`; texts belong to the model and live as long as it.
 */
typedef struct adflow_model_info {
    /**
     * sizeof(adflow_model_info).
     */
    uint32_t struct_size;
    /**
     * Side of the square that images are resized to, or of a tile where the model has tiles, in pixels.
     */
    uint32_t input_size;
    /**
     * Channels the model reads: 1 or 3. Grey and colour images fit both.
     */
    uint32_t channels;
    /**
     * Views of an image that a score is averaged over.
     */
    uint32_t views;
    /**
     * Columns of the model's own map; 0 if it makes none.
     */
    uint32_t map_width;
    /**
     * Rows of the model's own map.
     */
    uint32_t map_height;
    /**
     * Colour scale of maps: the median pixel of good parts that training has set aside.
     */
    float map_typical;
    /**
     * Colour scale of maps: their highest pixel.
     */
    float map_limit;
    /**
     * Bytes of parameters.
     */
    uint64_t param_bytes;
    /**
     * Bytes of the model file.
     */
    uint64_t file_bytes;
    /**
     * Method: "cdnf", "differnet", "csflow", "fastflow", "ssnf", "posflow", "padim" or "gauss".
     */
    const char *method;
    /**
     * Name of the backbone.
     */
    const char *backbone;
    /**
     * Width that images are resized to; `input_size` without tiles.
     */
    uint32_t canvas_width;
    /**
     * Height that images are resized to; `input_size` without tiles.
     */
    uint32_t canvas_height;
    /**
     * Tiles that such an image is cut into, each a run of the same plan; 1 without tiles.
     */
    uint32_t tiles;
    /**
     * 0.
     */
    uint32_t reserved;
} adflow_model_info;

/**
 * A limit on the score, and what it promises about good parts.
 */
typedef struct adflow_threshold {
    /**
     * sizeof(adflow_threshold).
     */
    uint32_t struct_size;
    /**
     * Scores above this are defective.
     */
    float reject;
    /**
     * Not 0: scores above `accept` and not above `reject` are unsure.
     */
    uint32_t grey_zone;
    /**
     * See `grey_zone`; not above `reject`.
     */
    float accept;
    /**
     * Held-out good parts behind the threshold; 0 for one set by hand.
     */
    uint32_t held_out;
    /**
     * At most this share of good parts is rejected, 0..1, ...
     */
    double false_reject;
    /**
     * ... with this confidence, 0..1. 0 for a threshold set by hand, which promises nothing.
     */
    double confidence;
} adflow_threshold;

/**
 * Gives `bytes` bytes at a multiple of `alignment`, or NULL.
 */
typedef void *(*adflow_allocate_fn)(size_t bytes, size_t alignment, void *user_data);

/**
 * Takes back what `allocate` gave, with the same numbers.
 */
typedef void (*adflow_release_fn)(void *memory, size_t bytes, size_t alignment, void *user_data);

/**
 * Where a session's memory comes from. Called while the session is made and freed, never while it scores, on the thread
 * that does so. Both functions must return, and live as long as the session.
 */
typedef struct adflow_allocator {
    /**
     * sizeof(adflow_allocator).
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Must be set.
     */
    adflow_allocate_fn allocate;
    /**
     * NULL: the memory is never taken back, as that of an arena.
     */
    adflow_release_fn release;
    /**
     * Handed to both.
     */
    void *user_data;
} adflow_allocator;

/**
 * How a session is made. Zero in a field means the default.
 */
typedef struct adflow_session_options {
    /**
     * sizeof(adflow_session_options).
     */
    uint32_t struct_size;
    /**
     * Threads that work on one image, the caller included. 0: one per processor. The score does not depend on it.
     */
    uint32_t threads;
    /**
     * Widest image in pixels; decides the memory of preprocessing, 20 bytes a pixel. 0: 16384.
     */
    uint32_t max_width;
    /**
     * Not 0: maps will not be asked for, which saves memory.
     */
    uint32_t no_map;
    /**
     * Where programs run: "auto" (a graphics card if there is one), "cpu", "vulkan", "vulkan:N" or "vulkan:NAME". NULL: the
     * CPU. A GPU's score differs from the CPU's in the last digits. A GPU that is lost is opened again once, then the CPU
     * takes over.
     */
    const char *device;
    /**
     * Not 0: a GPU that can keeps intermediate values in 16 bits, which is faster; scores differ by a few hundredths.
     */
    uint32_t half_precision;
    /**
     * Not 0: images come with regions of their own, `adflow_session_score_within`; takes about 8 bytes a pixel of the
     * model's input.
     */
    uint32_t regions;
    /**
     * Where the session's memory comes from, except some hundred bytes, its threads and what a GPU's driver takes. NULL:
     * malloc.
     */
    const struct adflow_allocator *allocator;
} adflow_session_options;

/**
 * Neighbours in one row that are inside: columns `first` to `last`, both of them.
 */
typedef struct adflow_run {
    /**
     * The row; the top one is 0.
     */
    int32_t row;
    /**
     * The leftmost column.
     */
    int32_t first;
    /**
     * The rightmost column, not left of `first`.
     */
    int32_t last;
} adflow_run;

/**
 * Part of an image, in its pixels. What lies beyond the image does not count.
 */
typedef struct adflow_region {
    /**
     * sizeof(adflow_region).
     */
    uint32_t struct_size;
    /**
     * One of `adflow_region_kind`.
     */
    uint32_t kind;
    /**
     * Left column of the rectangle.
     */
    int32_t x;
    /**
     * Top row of the rectangle.
     */
    int32_t y;
    /**
     * Columns of the rectangle.
     */
    uint32_t width;
    /**
     * Rows of the rectangle.
     */
    uint32_t height;
    /**
     * Runs from top to bottom and, in a row, from left to right; none touches another.
     */
    const struct adflow_run *runs;
    /**
     * How many there are.
     */
    size_t run_count;
    /**
     * An image of the same size: inside where every channel is at least half of white.
     */
    const struct adflow_image *mask;
} adflow_region;

/**
 * An image in the caller's memory; nothing is copied. Zero in a field means the default.
 *
 * Only the pixels are read, but no part of the memory from the first to the last of them may change during a call.
 * `{.struct_size = sizeof(adflow_image), .width = w, .height = h, .data = p}` is an 8-bit grey image without padding.
 */
typedef struct adflow_image {
    /**
     * sizeof(adflow_image).
     */
    uint32_t struct_size;
    /**
     * One of `adflow_samples`.
     */
    uint32_t samples;
    /**
     * One of `adflow_channels`.
     */
    uint32_t channels;
    /**
     * Pixels in a row, at least 1.
     */
    uint32_t width;
    /**
     * Rows, at least 1.
     */
    uint32_t height;
    /**
     * The sample that means white. 0: 255 for U8, 65535 for U16, 1 for F32. A camera of 12 bits in U16 has 4095.
     */
    float white;
    /**
     * First sample of the top-left pixel; of the first plane if the image is planar.
     */
    const void *data;
    /**
     * Bytes from a row to the one below; negative if rows are stored bottom-up. 0: no padding.
     */
    ptrdiff_t row_stride;
    /**
     * Bytes from a pixel to its right neighbour; negative if rows are mirrored. 0: no padding.
     */
    ptrdiff_t pixel_stride;
    /**
     * Bytes from a plane to the next. 0: channels are interleaved, or the planes lie at `plane_2` and `plane_3`.
     */
    ptrdiff_t plane_stride;
    /**
     * The second plane if the planes were allocated apart (HALCON); else NULL.
     */
    const void *plane_2;
    /**
     * The third plane if the planes were allocated apart; else NULL.
     */
    const void *plane_3;
    /**
     * Which part of the image counts; NULL: all of it. Sessions must have been made with `regions`.
     */
    const struct adflow_region *region;
} adflow_image;

/**
 * A map in the caller's memory: how strange each pixel is, in any resolution; larger is stranger.
 */
typedef struct adflow_map {
    /**
     * sizeof(adflow_map).
     */
    uint32_t struct_size;
    /**
     * Columns, at least 1; often the image's width. The model's own map is resized, bilinear.
     */
    uint32_t width;
    /**
     * Rows, at least 1.
     */
    uint32_t height;
    /**
     * Top-left value; `width` values a row are written.
     */
    float *data;
    /**
     * Bytes from a row to the one below, of either sign. 0: no padding.
     */
    ptrdiff_t row_stride;
} adflow_map;

/**
 * What became of an image. The caller sets `struct_size`.
 */
typedef struct adflow_result {
    /**
     * sizeof(adflow_result).
     */
    uint32_t struct_size;
    /**
     * One of `adflow_verdict`.
     */
    uint32_t verdict;
    /**
     * The anomaly score: larger is stranger.
     */
    float score;
    /**
     * The threshold: scores above it are defective. NaN if there is none.
     */
    float reject;
} adflow_result;

/**
 * How a model is trained. Zero (NULL) in a field means the default.
 */
typedef struct adflow_train_options {
    /**
     * sizeof(adflow_train_options).
     */
    uint32_t struct_size;
    /**
     * One of `adflow_method`.
     */
    uint32_t method;
    /**
     * One of `adflow_preset`.
     */
    uint32_t preset;
    /**
     * Side of the square that images are resized to, 32 to 2048 pixels. 0: the method's.
     */
    uint32_t size;
    /**
     * Epochs over the images. 0: until good parts that were set aside score no better.
     */
    uint32_t epochs;
    /**
     * Views of an image that a score is averaged over, 1 to 256. 0: the preset's.
     */
    uint32_t views;
    /**
     * Threads, the caller included. 0: one per processor. The model does not depend on it.
     */
    uint32_t threads;
    /**
     * Not 0: the model makes no maps.
     */
    uint32_t no_map;
    /**
     * Seed of everything random: same images, options and seed give the same bytes.
     */
    uint64_t seed;
    /**
     * Share of good parts that may be rejected, 0 to 1. 0: 0.01.
     */
    double false_reject;
    /**
     * Confidence of that promise, 0 to 1. 0: 0.95.
     */
    double confidence;
    /**
     * Share of images set aside to find the threshold, up to 0.5. 0: 0.1. Negative: none, and no threshold.
     */
    double held_out;
    /**
     * Step size of the optimiser. 0: the method's.
     */
    float learning_rate;
    /**
     * Not 0: go on from the file `checkpoint` if there is one.
     */
    uint32_t resume;
    /**
     * Path of a safetensors file with a backbone's weights. NULL: the backbone that needs no file.
     */
    const char *backbone;
    /**
     * Path of a file that keeps the state of training after each epoch; removed when training has ended well. NULL: none.
     */
    const char *checkpoint;
    /**
     * Where programs run: "auto" (a graphics card if there is one), "cpu", "vulkan", "vulkan:N" or "vulkan:NAME". NULL: the
     * CPU. The model's bytes depend on it, in the last digits of its numbers.
     */
    const char *device;
    /**
     * Where to look: a mask in which every channel of a pixel to inspect is at least half of white, stretched to each
     * image. The model keeps it; pixels outside change neither the model nor a score. If its own `region` is set, that is
     * taken and its pixels are not looked at. NULL: everywhere.
     */
    const struct adflow_image *region;
    /**
     * With `canvas_height`: images are resized to this width and cut into overlapping tiles of `size` pixels (0: 512), which
     * share one plan, so that large images are scored at full resolution in little memory. Methods `padim`, `posflow`,
     * `fastflow`, `csflow`. 0: no tiles, the whole image becomes one square.
     */
    uint32_t canvas_width;
    /**
     * Height that images are resized to; 0 exactly if `canvas_width` is.
     */
    uint32_t canvas_height;
    /**
     * Border of a tile that is there only to be seen, in pixels; a multiple of the backbone's stride. 0: an eighth of a
     * tile, at least 64.
     */
    uint32_t margin;
    /**
     * One of `adflow_map_levels`; for methods with flows on several grids. 0: product for `csflow`, sum for the others.
     */
    uint32_t map_levels;
    /**
     * Most epochs of a contrastive phase, which adapts the backbone to the parts before the flow is trained: method `Cdnf`
     * only, and not with the backbone that needs no file. 0: none.
     */
    uint32_t contrastive_epochs;
    /**
     * Step size of that phase. 0: 0.0001.
     */
    float contrastive_rate;
    /**
     * One of `adflow_pooling`; for methods `Cdnf`, `Differnet` and `Gauss`. The backbone that needs no file has means only.
     */
    uint32_t pooling;
    /**
     * One of `adflow_radius`; for method `Patchcore`.
     */
    uint32_t radius;
    /**
     * Bytes that a memory of good features may take; for method `Patchcore`. 0: 8 MiB.
     */
    uint64_t memory_bytes;
} adflow_train_options;

/**
 * How far training is.
 */
typedef struct adflow_progress {
    /**
     * Bytes of this struct that this library has filled in.
     */
    uint32_t struct_size;
    /**
     * One of `adflow_phase`.
     */
    uint32_t phase;
    /**
     * Units (images, steps) of this phase that are done.
     */
    uint64_t done;
    /**
     * Units of this phase; an upper limit where training may stop early.
     */
    uint64_t total;
    /**
     * Epochs finished.
     */
    uint32_t epoch;
    /**
     * Most epochs there will be; 0 if the method has none.
     */
    uint32_t epochs;
    /**
     * Mean loss of the last epoch, nats per dimension; NaN before the first.
     */
    double loss;
    /**
     * Median score of the parts set aside over that of training parts; NaN if unknown.
     */
    double held_out;
    /**
     * A remark for the user, else NULL; lives during the call.
     */
    const char *note;
} adflow_progress;

/**
 * Called often during training, on the thread that called `adflow_trainer_run`; not 0 cancels.
 *
 * It must return: no exception and no longjmp may leave it. It may call adflow, but not with the running trainer.
 */
typedef int32_t (*adflow_progress_fn)(const struct adflow_progress *progress, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library, "major.minor.patch".
 *
 * The text is a constant. Thread class: reentrant.
 */
const char *adflow_version(void);

/**
 * A few words for a status, also for numbers that this library does not know.
 *
 * The text is a constant. Thread class: reentrant.
 */
const char *adflow_status_text(uint32_t status);

/**
 * What went wrong in this thread's last call that failed: UTF-8, "" before the first failure.
 *
 * The text belongs to adflow and stays until the next failure on this thread or the thread's end. Successful calls leave
 * it alone. Thread class: reentrant; each thread has its own.
 */
const char *adflow_last_error(void);

/**
 * Copies the message of `adflow_last_error` to `buffer`, cut to `capacity` bytes with the NUL; `length` (may be NULL) gets
 * the bytes of the whole message without the NUL.
 *
 * `buffer` may be NULL if `capacity` is 0. Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_last_error_copy(char *buffer,
                                          size_t capacity,
                                          size_t *length);

/**
 * Sends messages up to `level`, one of `adflow_log_level`, to `callback`, for the whole process; `user_data` is handed to
 * it. NULL or NONE ends it.
 *
 * Messages are made without allocating. When this returns, the callback before is not running any more and will not be
 * called again. Errors: ARGUMENT, BUSY from inside a callback. Thread class: reentrant.
 */
enum adflow_status adflow_set_log(uint32_t level,
                                  adflow_log_fn callback,
                                  void *user_data);

/**
 * How many GPUs with a Vulkan driver there are; 0 without a driver.
 *
 * Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_device_count(uint32_t *count);

/**
 * The GPU that "vulkan:N" names, for N = `index` from 0.
 *
 * Errors: NULL, ARGUMENT, NOT_FOUND past the last. Thread class: reentrant.
 */
enum adflow_status adflow_device_info(uint32_t index, struct adflow_device_description *info);

/**
 * Opens a model file and validates it.
 *
 * Free the model with `adflow_model_free`. Errors: NULL, IO, MODEL. Thread class: reentrant.
 */
enum adflow_status adflow_model_open(const char *path, struct adflow_model **model);

/**
 * Reads a model from the bytes of a model file, which are copied and validated.
 *
 * Free the model with `adflow_model_free`; the bytes stay the caller's. Errors: NULL, MODEL. Thread class: reentrant.
 */
enum adflow_status adflow_model_from_memory(const void *bytes,
                                            size_t length,
                                            struct adflow_model **model);

/**
 * Facts about a model; set `info->struct_size` before.
 *
 * Errors: NULL, ARGUMENT. Thread class: reentrant.
 */
enum adflow_status adflow_model_get_info(const struct adflow_model *model, struct adflow_model_info *info);

/**
 * How the model was made: the value of a key such as "method", "seed" or "data_digest".
 *
 * `value` belongs to the model and lives as long as it. Errors: NULL, NOT_FOUND. Thread class: reentrant.
 */
enum adflow_status adflow_model_about(const struct adflow_model *model, const char *key, const char **value);

/**
 * All that `adflow_model_about` knows, one pair for each index from 0; NOT_FOUND past the last.
 *
 * `key` and `value` belong to the model and live as long as it. Errors: NULL, NOT_FOUND. Thread class: reentrant.
 */
enum adflow_status adflow_model_about_at(const struct adflow_model *model,
                                         size_t index,
                                         const char **key,
                                         const char **value);

/**
 * The model's threshold; set `threshold->struct_size` before.
 *
 * Errors: NULL, ARGUMENT, NOT_FOUND if the model has none. Thread class: reentrant.
 */
enum adflow_status adflow_model_get_threshold(const struct adflow_model *model,
                                              struct adflow_threshold *threshold);

/**
 * Gives the model another threshold, or none if NULL. Sessions made before keep the one they have.
 *
 * Errors: NULL, ARGUMENT. Thread class: reentrant.
 */
enum adflow_status adflow_model_set_threshold(struct adflow_model *model,
                                              const struct adflow_threshold *threshold);

/**
 * A threshold from the scores of the good parts that training has set aside, for other rates; the model stays as it is.
 *
 * At most the share `false_reject` of good parts is rejected, with `confidence`; with too few parts for that, the largest
 * score is taken and the confidence is what it really is. `unsure` above `false_reject` adds a grey zone: at most that
 * share of good parts is unsure or rejected; 0 adds none. Set `threshold->struct_size` before.
 *
 * Errors: NULL, ARGUMENT, NOT_FOUND if nothing was set aside. Thread class: reentrant.
 */
enum adflow_status adflow_model_calibrate(const struct adflow_model *model,
                                          double false_reject,
                                          double confidence,
                                          double unsure,
                                          struct adflow_threshold *threshold);

/**
 * Writes the model to a file, whole or not at all.
 *
 * Errors: NULL, IO. Thread class: reentrant.
 */
enum adflow_status adflow_model_save(const struct adflow_model *model, const char *path);

/**
 * Copies the bytes of the model file to `buffer`; `length` gets their number.
 *
 * If `capacity` is too small (`buffer` may be NULL if it is 0) only `length` is written, and the status is
 * BUFFER_TOO_SMALL. Errors: NULL, BUFFER_TOO_SMALL. Thread class: reentrant.
 */
enum adflow_status adflow_model_to_memory(const struct adflow_model *model,
                                          void *buffer,
                                          size_t capacity,
                                          size_t *length);

/**
 * Copies the message of the last call on this model that failed, whatever the thread, as `adflow_last_error_copy` does; ""
 * before the first. BUSY is not noted.
 *
 * Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_model_error_copy(const struct adflow_model *model,
                                           char *buffer,
                                           size_t capacity,
                                           size_t *length);

/**
 * Frees a model; NULL is fine. Its sessions live on.
 *
 * No thread may be using it, and texts from it are gone. Thread class: local to the model.
 */
void adflow_model_free(struct adflow_model *model);

/**
 * Makes a session of a model, with threads and memory of its own. `options` may be NULL: all defaults.
 *
 * The session keeps what it needs of the model, with the threshold it has now; model and sessions may be freed in any
 * order. Free it with `adflow_session_free`. Errors: NULL, ARGUMENT, OUT_OF_MEMORY, DEVICE. Thread class: reentrant.
 */
enum adflow_status adflow_session_new(const struct adflow_model *model,
                                      const struct adflow_session_options *options,
                                      struct adflow_session **session);

/**
 * Bytes that a session of these options will take from its allocator, as far as the CPU's memory goes. `options` may be
 * NULL: all defaults.
 *
 * A GPU that `device` names is not opened. Errors: NULL, ARGUMENT, OUT_OF_MEMORY if they cannot be addressed. Thread class:
 * reentrant.
 */
enum adflow_status adflow_session_memory(const struct adflow_model *model,
                                         const struct adflow_session_options *options,
                                         uint64_t *bytes);

/**
 * Scores an image, and if `map` is not NULL writes how strange each pixel is into the caller's memory.
 *
 * Allocates nothing on the CPU. Score, map and verdict are those of the command line for the same pixels, bit for bit. With
 * `image->region` it is a part of the image that is scored, as `adflow_session_score_within` says. On failure map and result
 * are untouched; they may not overlap the image or each other. Errors: NULL, ARGUMENT, IMAGE, NO_MAP, BUSY, DEVICE,
 * TIMED_OUT. Thread class: local to the session.
 */
enum adflow_status adflow_session_score(struct adflow_session *session,
                                        const struct adflow_image *image,
                                        const struct adflow_map *map,
                                        struct adflow_result *result);

/**
 * `adflow_session_score` of a part of the image: where every channel of `region`, an image of the same size, is at least
 * half of white, and the model's own region of interest allows. NULL is the whole image.
 *
 * No pixel outside changes a bit of score or map; outside the map is 0. The session must have been made with `regions`.
 * A part of the image that a model without a region of interest never saw cut off has an edge which it may find strange;
 * cut along the background. Errors: NULL, ARGUMENT (also for a region in which nothing is left at the model's resolution),
 * IMAGE, NO_MAP, BUSY, DEVICE, TIMED_OUT. Thread class: local to the session.
 */
enum adflow_status adflow_session_score_within(struct adflow_session *session,
                                               const struct adflow_image *image,
                                               const struct adflow_image *region,
                                               const struct adflow_map *map,
                                               struct adflow_result *result);

/**
 * Changes the threshold of this session only; NULL removes it, so that verdicts are NONE.
 *
 * Errors: NULL, ARGUMENT, BUSY. Thread class: local to the session.
 */
enum adflow_status adflow_session_set_threshold(struct adflow_session *session,
                                                const struct adflow_threshold *threshold);

/**
 * How long each later call of this session may take, in microseconds up to 2^31 - 1; 0: as long as it needs.
 *
 * A call that is not done by then returns TIMED_OUT within a millisecond and leaves map and result untouched; the session
 * goes on. The clock is looked at between the parts of the work on the CPU; a map that is done is written to the end,
 * and a GPU finishes what it was given. Errors: NULL, ARGUMENT, BUSY. Thread class: local to the session.
 */
enum adflow_status adflow_session_set_deadline(struct adflow_session *session,
                                               uint32_t microseconds);

/**
 * Copies the message of the last call on this session that failed, whatever the thread, as `adflow_last_error_copy` does; ""
 * before the first. BUSY is not noted.
 *
 * Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_session_error_copy(const struct adflow_session *session,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *length);

/**
 * Ends a session, its threads and its memory; NULL is fine.
 *
 * No thread may be using it. Thread class: local to the session.
 */
void adflow_session_free(struct adflow_session *session);

/**
 * Makes a trainer. `options` may be NULL: all defaults.
 *
 * Free it with `adflow_trainer_free`. Errors: NULL, ARGUMENT, WEIGHTS. Thread class: reentrant.
 */
enum adflow_status adflow_trainer_new(const struct adflow_train_options *options,
                                      struct adflow_trainer **trainer);

/**
 * Adds a copy of an image of a good part. `name` is used in messages; NULL: its number.
 *
 * On failure the trainer is as it was. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the
 * trainer.
 */
enum adflow_status adflow_trainer_add_image(struct adflow_trainer *trainer,
                                            const struct adflow_image *image,
                                            const char *name);

/**
 * Adds a copy of an image of a defective part, for a contrastive phase. `name` is used in messages; NULL: its number.
 *
 * Never measure the model with it, nor with other images of that part. On failure the trainer is as it was. Errors: NULL,
 * ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the trainer.
 */
enum adflow_status adflow_trainer_add_defect(struct adflow_trainer *trainer,
                                             const struct adflow_image *image,
                                             const char *name);

/**
 * Trains a model on the images added so far. `progress` may be NULL; `user_data` is handed to it.
 *
 * The images stay; the trainer can run again, for example with `resume`. Free the model with `adflow_model_free`.
 * Errors: NULL, BUSY, CANCELLED, TOO_FEW_IMAGES, TRAINING, IMAGE, ARGUMENT, CHECKPOINT, IO. Thread class: local to the
 * trainer.
 */
enum adflow_status adflow_trainer_run(struct adflow_trainer *trainer,
                                      adflow_progress_fn progress,
                                      void *user_data,
                                      struct adflow_model **model);

/**
 * Copies the message of the last call on this trainer that failed, whatever the thread, as `adflow_last_error_copy` does; ""
 * before the first. BUSY is not noted.
 *
 * Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_trainer_error_copy(const struct adflow_trainer *trainer,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *length);

/**
 * Frees a trainer and its images; NULL is fine.
 *
 * No thread may be using it, and no callback of its own. Thread class: local to the trainer.
 */
void adflow_trainer_free(struct adflow_trainer *trainer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ADFLOW_H */
