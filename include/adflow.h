/* adflow: visual anomaly detection for production lines, trained from images of good parts only.
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
 * Errors. Functions that can fail return an adflow_status, 0 on success; adflow_last_error() has the message. Results
 * are written on success only. Nothing is printed. NULL pointers, wrong sizes, strides and enum numbers are detected and
 * reported as a status, never by an exception, a signal or an abort.
 *
 * Ownership. Handles from _new, _open, _from_memory and _run belong to the caller, who frees them with the _free of
 * their type; freeing NULL does nothing. Pointers to const that are passed in are only used during the call.
 *
 * Versions. Structs begin with struct_size: zero the whole struct, then set struct_size to its sizeof. Zero in any other
 * field means its default. Programs compiled with an older adflow.h work with a newer library; enum numbers never change.
 *
 * Threads. Each function states its thread class. Reentrant: any thread may call it at any time, also on the same object.
 * Local: only one thread at a time may call it on the same object; calls on different objects may run at the same time. A
 * second thread that is detected gets ADFLOW_STATUS_BUSY.
 *
 * Text is UTF-8 and NUL-terminated. Paths are the bytes that the system uses, UTF-8 on Windows. */


#ifndef ADFLOW_H
#define ADFLOW_H

#include <stddef.h>
#include <stdint.h>

/**
 * Outcome of a call. Numbers never change their meaning.
 */
typedef enum adflow_status {
    /**
     * The call succeeded.
     */
    ADFLOW_STATUS_OK = 0,
    /**
     * A required pointer is NULL.
     */
    ADFLOW_STATUS_NULL = 1,
    /**
     * An argument or a field of a struct is out of range.
     */
    ADFLOW_STATUS_ARGUMENT = 2,
    /**
     * The image is empty, wider than the session allows, inconsistently described, or has a pixel that is NaN or infinite.
     */
    ADFLOW_STATUS_IMAGE = 3,
    /**
     * The data is not a model, is damaged, or was written by a version that this library cannot read.
     */
    ADFLOW_STATUS_MODEL = 4,
    /**
     * A file could not be read or written.
     */
    ADFLOW_STATUS_IO = 5,
    /**
     * Nothing has the requested name or index.
     */
    ADFLOW_STATUS_NOT_FOUND = 6,
    /**
     * A struct sets a field that this version of the library does not know.
     */
    ADFLOW_STATUS_UNSUPPORTED = 7,
    /**
     * A map was requested, but the model or the session makes none.
     */
    ADFLOW_STATUS_NO_MAP = 8,
    /**
     * Another thread or a callback is using the object.
     */
    ADFLOW_STATUS_BUSY = 9,
    /**
     * The progress callback cancelled the training.
     */
    ADFLOW_STATUS_CANCELLED = 10,
    /**
     * There are too few training images.
     */
    ADFLOW_STATUS_TOO_FEW_IMAGES = 11,
    /**
     * Training failed: all images are identical, or the loss became NaN or infinite.
     */
    ADFLOW_STATUS_TRAINING = 12,
    /**
     * The checkpoint was made with other images or options, or is damaged.
     */
    ADFLOW_STATUS_CHECKPOINT = 13,
    /**
     * The backbone file cannot be used.
     */
    ADFLOW_STATUS_WEIGHTS = 14,
    /**
     * The buffer is too small; the required length has been written.
     */
    ADFLOW_STATUS_BUFFER_TOO_SMALL = 15,
    /**
     * Not enough memory.
     */
    ADFLOW_STATUS_OUT_OF_MEMORY = 16,
    /**
     * A bug in adflow. The objects passed to the call remain valid.
     */
    ADFLOW_STATUS_INTERNAL = 17,
    /**
     * The requested GPU does not exist, lacks a required capability, or has failed permanently.
     */
    ADFLOW_STATUS_DEVICE = 18,
    /**
     * The deadline of the session passed before the image was scored.
     */
    ADFLOW_STATUS_TIMED_OUT = 19,
    /**
     * The handle was freed before, or is of another type. Only debug builds of the library detect this.
     */
    ADFLOW_STATUS_HANDLE = 20,
} adflow_status;

/**
 * Channels of an image, in the order in which their samples or planes are stored.
 */
typedef enum adflow_channels {
    /**
     * One channel, grey.
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
     * Red, green, blue, and a fourth channel that is ignored.
     */
    ADFLOW_CHANNELS_RGBA = 3,
    /**
     * Blue, green, red, and a fourth channel that is ignored.
     */
    ADFLOW_CHANNELS_BGRA = 4,
} adflow_channels;

/**
 * How `adflow_region` describes a region.
 */
typedef enum adflow_region_kind {
    /**
     * A rectangle: `x`, `y`, `width` and `height`.
     */
    ADFLOW_REGION_KIND_RECTANGLE = 0,
    /**
     * Run lengths, as in a HALCON domain: `runs` and `run_count`.
     */
    ADFLOW_REGION_KIND_RUNS = 1,
    /**
     * A mask image: `mask`.
     */
    ADFLOW_REGION_KIND_MASK = 2,
} adflow_region_kind;

/**
 * Severity of a log message.
 */
typedef enum adflow_log_level {
    /**
     * No messages.
     */
    ADFLOW_LOG_LEVEL_NONE = 0,
    /**
     * A call has failed; the message is the one `adflow_last_error` returns.
     */
    ADFLOW_LOG_LEVEL_ERROR = 1,
    /**
     * Something the user should know, for example about the training images.
     */
    ADFLOW_LOG_LEVEL_WARNING = 2,
    /**
     * A rare event: a model was opened or a session made.
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
 * A trained detector. Any number of sessions and threads may share it; only its threshold can be changed.
 */
typedef struct adflow_model adflow_model;

/**
 * A model with its own threads and working memory, ready to score images.
 *
 * Only one thread at a time may use a session; different sessions, of one model or several, can score at the same time.
 */
typedef struct adflow_session adflow_session;

/**
 * Collects images of good parts and trains a model from them. Only one thread at a time may use a trainer.
 */
typedef struct adflow_trainer adflow_trainer;

/**
 * Receives one log message: `level` is one of `adflow_log_level`, `message` is UTF-8 and valid only during the call.
 *
 * Called on the thread that called adflow, so several threads may call it at the same time. It must return normally: no
 * exception and no longjmp may leave it. It may call adflow; messages of such calls are not logged.
 */
typedef void (*adflow_log_fn)(uint32_t level, const char *message, void *user_data);

/**
 * One GPU, as `adflow_device_info` describes it. Set `struct_size` before the call.
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
     * Memory of the GPU, in bytes.
     */
    uint64_t memory;
    /**
     * Name that the driver reports, UTF-8, truncated to 255 bytes and NUL-terminated.
     */
    char name[256];
    /**
     * UUID of the GPU, the same in every run: 32 hexadecimal digits, NUL-terminated.
     */
    char uuid[40];
} adflow_device_description;

/**
 * Properties of a model. Set `struct_size` before the call; the texts belong to the model and are valid until it is freed.
 */
typedef struct adflow_model_info {
    /**
     * sizeof(adflow_model_info).
     */
    uint32_t struct_size;
    /**
     * Side of the square that images are resized to, in pixels; for a model with tiles, the side of a tile.
     */
    uint32_t input_size;
    /**
     * Channels that the model uses: 1 or 3. Both grey and colour images are accepted and converted.
     */
    uint32_t channels;
    /**
     * Number of flipped or rotated views of an image that the score is averaged over.
     */
    uint32_t views;
    /**
     * Width of the map that the model computes, before it is resized for the caller; 0 if the model makes no maps.
     */
    uint32_t map_width;
    /**
     * Height of the map that the model computes; 0 if the model makes no maps.
     */
    uint32_t map_height;
    /**
     * Colour scale of maps, lower end: the median map value on held-out good parts.
     */
    float map_typical;
    /**
     * Colour scale of maps, upper end: the highest map value on held-out good parts.
     */
    float map_limit;
    /**
     * Size of the model's parameters, in bytes.
     */
    uint64_t param_bytes;
    /**
     * Size of the model file, in bytes.
     */
    uint64_t file_bytes;
    /**
     * Name of the method, as `adflow train --method` takes it: "padim", "patchcore", "fastflow" and so on.
     */
    const char *method;
    /**
     * Name of the backbone, for example "builtin".
     */
    const char *backbone;
    /**
     * Width that images are resized to, in pixels; `input_size` for a model without tiles.
     */
    uint32_t canvas_width;
    /**
     * Height that images are resized to, in pixels; `input_size` for a model without tiles.
     */
    uint32_t canvas_height;
    /**
     * Number of tiles that an image is cut into, each scored separately; 1 for a model without tiles.
     */
    uint32_t tiles;
    /**
     * Reserved; always 0.
     */
    uint32_t reserved;
} adflow_model_info;

/**
 * The score above which a part is rejected, and the false-reject rate that goes with it.
 */
typedef struct adflow_threshold {
    /**
     * sizeof(adflow_threshold).
     */
    uint32_t struct_size;
    /**
     * Parts with a score above this are defective.
     */
    float reject;
    /**
     * Not 0: parts with a score above `accept`, up to `reject`, are unsure. 0: `accept` is ignored.
     */
    uint32_t grey_zone;
    /**
     * Lower end of the grey zone, at most `reject`; only used if `grey_zone` is not 0.
     */
    float accept;
    /**
     * Number of held-out good parts that the threshold was computed from; 0 for one set by hand.
     */
    uint32_t held_out;
    /**
     * Share of good parts that is rejected at most, 0 to 1.
     */
    double false_reject;
    /**
     * Confidence with which `false_reject` holds, 0 to 1; 0 for a threshold set by hand, which guarantees no rate.
     */
    double confidence;
} adflow_threshold;

/**
 * Allocates `bytes` bytes at an address that is a multiple of `alignment`, a power of two. Returns NULL if it cannot.
 */
typedef void *(*adflow_allocate_fn)(size_t bytes, size_t alignment, void *user_data);

/**
 * Frees `memory`, which `allocate` returned for the same `bytes` and `alignment`.
 */
typedef void (*adflow_release_fn)(void *memory, size_t bytes, size_t alignment, void *user_data);

/**
 * An allocator of the program for the working memory of a session.
 *
 * It is called by `adflow_session_new` and `adflow_session_free`, on the thread that calls them, and never while scoring.
 * Both functions must return normally and stay valid until the session is freed.
 */
typedef struct adflow_allocator {
    /**
     * sizeof(adflow_allocator).
     */
    uint32_t struct_size;
    /**
     * Reserved; set to 0.
     */
    uint32_t reserved;
    /**
     * Allocates the memory. Required.
     */
    adflow_allocate_fn allocate;
    /**
     * Frees the memory. NULL: it is never freed, as with an arena.
     */
    adflow_release_fn release;
    /**
     * Passed to both functions.
     */
    void *user_data;
} adflow_allocator;

/**
 * Options of a session. Zero (NULL) in a field means its default.
 */
typedef struct adflow_session_options {
    /**
     * sizeof(adflow_session_options).
     */
    uint32_t struct_size;
    /**
     * Threads that score one image, including the calling thread, up to 1024. 0: one per processor. Scores do not depend on
     * it.
     */
    uint32_t threads;
    /**
     * Width of the widest image to be scored, in pixels; each pixel costs 20 bytes of memory. 0: 16384.
     */
    uint32_t max_width;
    /**
     * Not 0: no maps can be requested from the session, which saves memory.
     */
    uint32_t no_map;
    /**
     * Where the model runs: "auto" (a graphics card if there is one, otherwise the CPU), "cpu", "vulkan" (the best Vulkan
     * device), "vulkan:N" (number N of `adflow_device_info`) or "vulkan:NAME" (a UUID or part of a name). NULL: the CPU.
     * Scores of a GPU differ from those of the CPU in the last digits. If a GPU is lost it is reopened once; after that the CPU
     * takes over.
     */
    const char *device;
    /**
     * Not 0: a GPU that supports it keeps intermediate values in 16 bits, which is faster; scores change by a few hundredths.
     */
    uint32_t half_precision;
    /**
     * Not 0: images may have regions (`adflow_image.region`, `adflow_session_score_within`); costs about 8 bytes of memory for
     * each pixel of the model's input.
     */
    uint32_t regions;
    /**
     * Allocator for the working memory of the session, `adflow_session_memory` bytes. Handles, threads and GPU drivers allocate
     * a little on their own. NULL: malloc.
     */
    const struct adflow_allocator *allocator;
} adflow_session_options;

/**
 * One run of a region: the pixels of one row from column `first` to column `last`, both included.
 */
typedef struct adflow_run {
    /**
     * Row, counted from 0 at the top.
     */
    int32_t row;
    /**
     * Leftmost column, counted from 0.
     */
    int32_t first;
    /**
     * Rightmost column, at least `first`.
     */
    int32_t last;
} adflow_run;

/**
 * Part of an image, in pixel coordinates of that image. Whatever lies outside the image is ignored.
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
     * Left column of the rectangle, counted from 0; may be negative.
     */
    int32_t x;
    /**
     * Top row of the rectangle, counted from 0; may be negative.
     */
    int32_t y;
    /**
     * Width of the rectangle in pixels, at least 1.
     */
    uint32_t width;
    /**
     * Height of the rectangle in pixels, at least 1.
     */
    uint32_t height;
    /**
     * Runs, ordered by row and then by column; runs must not overlap. Only read if `kind` is RUNS.
     */
    const struct adflow_run *runs;
    /**
     * Number of runs.
     */
    size_t run_count;
    /**
     * Image of the same size: a pixel is inside if every channel is at least half of white. Only read if `kind` is MASK.
     */
    const struct adflow_image *mask;
} adflow_region;

/**
 * An image in the caller's memory, of any layout; the pixels are not copied. Zero in a field means its default.
 *
 * `{.struct_size = sizeof(adflow_image), .width = w, .height = h, .data = p}` describes an 8-bit grey image without padding.
 * Only pixels are read, never padding, but the memory from the first to the last pixel must not change during a call.
 */
typedef struct adflow_image {
    /**
     * sizeof(adflow_image).
     */
    uint32_t struct_size;
    /**
     * Type of the samples, one of `adflow_samples`. 0: 8 bits.
     */
    uint32_t samples;
    /**
     * Channels and their order, one of `adflow_channels`. 0: grey.
     */
    uint32_t channels;
    /**
     * Width in pixels, at least 1.
     */
    uint32_t width;
    /**
     * Height in pixels, at least 1.
     */
    uint32_t height;
    /**
     * Value of a white sample; 4095 for a 12-bit camera in U16. 0: 255 for U8, 65535 for U16, 1 for F32.
     */
    float white;
    /**
     * First sample of the top-left pixel, in the first plane if the image is planar.
     */
    const void *data;
    /**
     * Bytes from one row to the row below; negative if rows are stored bottom-up. 0: rows without padding.
     */
    ptrdiff_t row_stride;
    /**
     * Bytes from a pixel to its right neighbour; negative if rows are stored right to left. 0: pixels without padding.
     */
    ptrdiff_t pixel_stride;
    /**
     * Bytes from one plane to the next. 0: channels are interleaved, or `plane_2` and `plane_3` are set.
     */
    ptrdiff_t plane_stride;
    /**
     * Second plane of a colour image whose planes are separate allocations, as in HALCON; otherwise NULL.
     */
    const void *plane_2;
    /**
     * Third plane of a colour image whose planes are separate allocations, as in HALCON; otherwise NULL.
     */
    const void *plane_3;
    /**
     * Part of the image to score; the session must have been made with `regions`. NULL: the whole image.
     */
    const struct adflow_region *region;
} adflow_image;

/**
 * An anomaly map in the caller's memory: one float for each pixel, larger where the image is more anomalous.
 *
 * The map may have any size; the map that the model computes is resized to it by bilinear interpolation.
 */
typedef struct adflow_map {
    /**
     * sizeof(adflow_map).
     */
    uint32_t struct_size;
    /**
     * Width in values, at least 1; usually the width of the image.
     */
    uint32_t width;
    /**
     * Height in values, at least 1; usually the height of the image.
     */
    uint32_t height;
    /**
     * Top-left value; `width` values are written in each row, padding is left as it is.
     */
    float *data;
    /**
     * Bytes from one row to the row below; negative if rows are stored bottom-up. 0: rows without padding.
     */
    ptrdiff_t row_stride;
} adflow_map;

/**
 * Result of scoring an image. Set `struct_size` before the call.
 */
typedef struct adflow_result {
    /**
     * sizeof(adflow_result).
     */
    uint32_t struct_size;
    /**
     * Verdict on the part, one of `adflow_verdict`.
     */
    uint32_t verdict;
    /**
     * Anomaly score: the larger, the more anomalous. Its scale depends on the model.
     */
    float score;
    /**
     * Threshold of the session: a part with a score above it is defective. NaN if there is none.
     */
    float reject;
} adflow_result;

/**
 * Options of a training. Zero (NULL) in a field means its default.
 */
typedef struct adflow_train_options {
    /**
     * sizeof(adflow_train_options).
     */
    uint32_t struct_size;
    /**
     * Detection method, one of `adflow_method`. 0: PADIM.
     */
    uint32_t method;
    /**
     * Set of defaults for the other options, one of `adflow_preset`. 0: FAST.
     */
    uint32_t preset;
    /**
     * Side of the square that images are resized to, or with `canvas_width` the side of a tile: 32 to 2048 pixels. 0: the
     * method's default, 512 for tiles.
     */
    uint32_t size;
    /**
     * Epochs (passes over the images), 1 to 100000. 0: train until the scores of held-out good parts stop improving.
     */
    uint32_t epochs;
    /**
     * Views of an image that its score is averaged over, 1 to 256: up to 8 are flips and right angles, more are rotations.
     * 0: the preset's default.
     */
    uint32_t views;
    /**
     * Threads used, including the calling thread, up to 1024. 0: one per processor. The model does not depend on it.
     */
    uint32_t threads;
    /**
     * Not 0: train a model that makes no anomaly maps.
     */
    uint32_t no_map;
    /**
     * Seed of every random choice: the same images, options and seed give the same model, byte for byte.
     */
    uint64_t seed;
    /**
     * Share of good parts that the threshold may reject, between 0 and 1. 0: 0.01.
     */
    double false_reject;
    /**
     * Confidence with which the threshold keeps to `false_reject`, between 0 and 1. 0: 0.95.
     */
    double confidence;
    /**
     * Share of the images held out of training to find the threshold, up to 0.5. 0: 0.1. Negative: none, and the model has no
     * threshold.
     */
    double held_out;
    /**
     * Learning rate of the optimiser, Adam: above 0, up to 1. 0: the method's default.
     */
    float learning_rate;
    /**
     * Not 0: continue from the file `checkpoint`, if it exists.
     */
    uint32_t resume;
    /**
     * Path of a safetensors file with the weights of a backbone. NULL: the built-in backbone, which needs no file.
     */
    const char *backbone;
    /**
     * Path of a file to which the state of training is saved after each epoch; removed when training succeeds. NULL: none.
     */
    const char *checkpoint;
    /**
     * Where training runs: "auto" (a graphics card if there is one, otherwise the CPU), "cpu", "vulkan" (the best Vulkan
     * device), "vulkan:N" (number N of `adflow_device_info`) or "vulkan:NAME" (a UUID or part of a name). NULL: the CPU.
     * Models trained on different devices differ in the last digits of their parameters.
     */
    const char *device;
    /**
     * Region of interest: a mask image, stretched to each training image, in which a pixel is inspected if every channel is at
     * least half of white. If the `region` of this image is set, that is used instead and the pixels are not read. The
     * region is stored in the model; pixels outside affect neither the model nor later scores. NULL: the whole image.
     */
    const struct adflow_image *region;
    /**
     * Width to which large images are resized, in pixels, before they are cut into overlapping tiles of `size` pixels, so that
     * they are scored at full resolution in little memory. Only for the methods PADIM, PATCHCORE, POSFLOW, FASTFLOW and
     * CSFLOW. 0: no tiles; the whole image is resized to one square.
     */
    uint32_t canvas_width;
    /**
     * Height to which large images are resized, in pixels; set it exactly if `canvas_width` is set.
     */
    uint32_t canvas_height;
    /**
     * Overlap around each tile, in pixels: context for the network, never scored. A multiple of the backbone's stride. 0: an
     * eighth of a tile, at least 64.
     */
    uint32_t margin;
    /**
     * How the grids of a flow become one map, one of `adflow_map_levels`. Only for the methods CSFLOW, FASTFLOW, SSNF and
     * POSFLOW. 0: PRODUCT for CSFLOW, SUM for the others.
     */
    uint32_t map_levels;
    /**
     * Largest number of epochs of the contrastive phase, 1 to 10000, which adapts the backbone to the parts before the flow is
     * trained. Only for the method CDNF, and not with the built-in backbone. 0: no contrastive phase.
     */
    uint32_t contrastive_epochs;
    /**
     * Learning rate of the contrastive phase: above 0, up to 1. 0: 0.0001.
     */
    float contrastive_rate;
    /**
     * How the feature maps of an image become one vector, one of `adflow_pooling`. Only for the methods CDNF, DIFFERNET and
     * GAUSS; the built-in backbone supports MEAN only. 0: MEAN.
     */
    uint32_t pooling;
    /**
     * How far around a position the memory is searched, one of `adflow_radius`. Only for the method PATCHCORE. 0: ONE; with
     * tiles ALL, the only value possible there.
     */
    uint32_t radius;
    /**
     * Largest size of the memory of good features, in bytes. Only for the method PATCHCORE. 0: 8 MiB.
     */
    uint64_t memory_bytes;
} adflow_train_options;

/**
 * Progress of a training, as passed to `adflow_progress_fn`.
 */
typedef struct adflow_progress {
    /**
     * Size of this struct in the library, in bytes; later fields are not there.
     */
    uint32_t struct_size;
    /**
     * What training is doing, one of `adflow_phase`.
     */
    uint32_t phase;
    /**
     * Units of work (images or steps) done in this phase.
     */
    uint64_t done;
    /**
     * Units of work in this phase; an upper limit if training may stop early.
     */
    uint64_t total;
    /**
     * Number of epochs finished.
     */
    uint32_t epoch;
    /**
     * Largest number of epochs there will be; 0 if the method does not train in epochs.
     */
    uint32_t epochs;
    /**
     * Mean loss of the last finished epoch, in nats per dimension; NaN before the first has finished.
     */
    double loss;
    /**
     * Median score of held-out parts divided by that of training parts, after the last finished epoch; NaN if unknown.
     */
    double held_out;
    /**
     * A remark for the user, valid only during the call; NULL if there is none.
     */
    const char *note;
} adflow_progress;

/**
 * Receives the progress of a training, often, on the thread that called `adflow_trainer_run`. Returns 0 to
 * continue, any other value to cancel.
 *
 * It must return normally: no exception and no longjmp may leave it. It may call adflow, but not with the running trainer.
 */
typedef int32_t (*adflow_progress_fn)(const struct adflow_progress *progress, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the version of the library as "major.minor.patch".
 *
 * The text is static: never free it. Thread class: reentrant.
 */
const char *adflow_version(void);

/**
 * Returns a short English description of a status; "unknown status" for a number that this library does not know.
 *
 * The text is static: never free it. Thread class: reentrant.
 */
const char *adflow_status_text(uint32_t status);

/**
 * Returns the message of the last call on this thread that failed: UTF-8, at most 1023 bytes; "" if none has failed.
 *
 * The text belongs to adflow and is valid until the next failing call on this thread, or until the thread ends. Successful
 * calls do not change it. Thread class: reentrant; each thread has its own message.
 */
const char *adflow_last_error(void);

/**
 * Copies the message of `adflow_last_error` to `buffer`, truncated to `capacity` bytes including the terminating NUL.
 *
 * `length` receives the length of the whole message in bytes, without the NUL; it may be NULL. `buffer` may be NULL if
 * `capacity` is 0. Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_last_error_copy(char *buffer,
                                          size_t capacity,
                                          size_t *length);

/**
 * Sets the log callback of the whole process: it receives every message of severity `level` (one of `adflow_log_level`) or
 * more severe, with `user_data`. A NULL `callback` or the level NONE turns logging off, which is the default.
 *
 * Logging does not allocate. When this function returns, the previous callback is no longer running and will not be called
 * again. Errors: ARGUMENT, BUSY if called from inside a callback. Thread class: reentrant.
 */
enum adflow_status adflow_set_log(uint32_t level,
                                  adflow_log_fn callback,
                                  void *user_data);

/**
 * Writes the number of GPUs with a Vulkan driver to `count`; 0 if no Vulkan driver is installed.
 *
 * Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_device_count(uint32_t *count);

/**
 * Describes the GPU with number `index`, counted from 0, in `info`: the one that the device text "vulkan:N" selects.
 *
 * Set `info->struct_size` before the call. Errors: NULL, ARGUMENT, NOT_FOUND if `index` is not below
 * `adflow_device_count`. Thread class: reentrant.
 */
enum adflow_status adflow_device_info(uint32_t index,
                                      struct adflow_device_description *info);

/**
 * Opens and validates a model file.
 *
 * Free the model with `adflow_model_free`. Errors: NULL, IO, MODEL. Thread class: reentrant.
 */
enum adflow_status adflow_model_open(const char *path, struct adflow_model **model);

/**
 * Opens and validates a model from the `length` bytes of a model file, which are copied.
 *
 * Free the model with `adflow_model_free`. Errors: NULL, MODEL. Thread class: reentrant.
 */
enum adflow_status adflow_model_from_memory(const void *bytes, size_t length, struct adflow_model **model);

/**
 * Writes the properties of a model to `info`. Set `info->struct_size` before the call.
 *
 * Errors: NULL, ARGUMENT. Thread class: reentrant.
 */
enum adflow_status adflow_model_get_info(const struct adflow_model *model, struct adflow_model_info *info);

/**
 * Looks up how the model was made: `value` receives the text for a key such as "method", "seed" or "data_digest".
 *
 * The text belongs to the model and is valid until the model is freed. Errors: NULL, ARGUMENT, NOT_FOUND if the model has no
 * such key. Thread class: reentrant.
 */
enum adflow_status adflow_model_about(const struct adflow_model *model,
                                      const char *key,
                                      const char **value);

/**
 * Lists what `adflow_model_about` can look up: writes the key and the value with number `index`, counted from 0.
 *
 * Both texts belong to the model and are valid until it is freed. Errors: NULL, NOT_FOUND if `index` is past the last key.
 * Thread class: reentrant.
 */
enum adflow_status adflow_model_about_at(const struct adflow_model *model,
                                         size_t index,
                                         const char **key,
                                         const char **value);

/**
 * Writes the model's threshold to `threshold`. Set `threshold->struct_size` before the call.
 *
 * Errors: NULL, ARGUMENT, NOT_FOUND if the model has none. Thread class: reentrant.
 */
enum adflow_status adflow_model_get_threshold(const struct adflow_model *model,
                                              struct adflow_threshold *threshold);

/**
 * Replaces the model's threshold; NULL removes it. Sessions that already exist keep the threshold they have.
 *
 * `false_reject`, `confidence` and `held_out` are kept where the model's own scores of good parts confirm them, as after
 * `adflow_model_calibrate`; otherwise the threshold counts as set by hand and promises nothing.
 *
 * Errors: NULL, ARGUMENT. Thread class: reentrant.
 */
enum adflow_status adflow_model_set_threshold(struct adflow_model *model,
                                              const struct adflow_threshold *threshold);

/**
 * Computes a threshold for other rates from the scores of the held-out good parts that the model stores. The model is not
 * changed: pass the result to `adflow_model_set_threshold`.
 *
 * At most the share `false_reject` of good parts is rejected, with probability `confidence`; both lie between 0 and 1. If the
 * held-out parts are too few for that, `threshold` is their largest score and states the confidence actually reached. A
 * share `unsure` above `false_reject` adds a grey zone: at most that share of good parts is unsure or rejected; 0 adds
 * none. Set `threshold->struct_size` before the call.
 *
 * Errors: NULL, ARGUMENT, NOT_FOUND if the model stores no scores of held-out parts. Thread class: reentrant.
 */
enum adflow_status adflow_model_calibrate(const struct adflow_model *model,
                                          double false_reject,
                                          double confidence,
                                          double unsure,
                                          struct adflow_threshold *threshold);

/**
 * Writes the model to a file. The file is replaced in one step: if writing fails, it is left as it was.
 *
 * Errors: NULL, IO. Thread class: reentrant.
 */
enum adflow_status adflow_model_save(const struct adflow_model *model, const char *path);

/**
 * Writes the model to memory: copies the bytes of the model file to `buffer`, of `capacity` bytes, and their number to
 * `length`.
 *
 * If `capacity` is too small, only `length` is written. `buffer` may be NULL if `capacity` is 0. Errors: NULL,
 * BUFFER_TOO_SMALL. Thread class: reentrant.
 */
enum adflow_status adflow_model_to_memory(const struct adflow_model *model,
                                          void *buffer,
                                          size_t capacity,
                                          size_t *length);

/**
 * Copies the message of the last call on this model that failed, on any thread; "" if none has failed.
 *
 * `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_model_error_copy(const struct adflow_model *model,
                                           char *buffer,
                                           size_t capacity,
                                           size_t *length);

/**
 * Frees a model; NULL does nothing. Sessions of the model stay valid; texts that belong to it do not.
 *
 * No other thread may be using the model. Thread class: local to the model.
 */
void adflow_model_free(struct adflow_model *model);

/**
 * Makes a session of a model. `options` may be NULL for all defaults.
 *
 * The session keeps what it needs of the model, with the model's present threshold, so both may be freed in any order. Free
 * the session with `adflow_session_free`. Errors: NULL, ARGUMENT, OUT_OF_MEMORY, DEVICE. Thread class: reentrant.
 */
enum adflow_status adflow_session_new(const struct adflow_model *model,
                                      const struct adflow_session_options *options,
                                      struct adflow_session **session);

/**
 * Writes the number of bytes that a session with these options takes from its allocator to `bytes`. `options` may be NULL
 * for all defaults.
 *
 * Memory of a GPU is not counted, and a GPU that `options->device` names is not opened. Errors: NULL, ARGUMENT,
 * OUT_OF_MEMORY if the memory could not be addressed. Thread class: reentrant.
 */
enum adflow_status adflow_session_memory(const struct adflow_model *model,
                                         const struct adflow_session_options *options,
                                         uint64_t *bytes);

/**
 * Scores an image. If `map` is not NULL, also writes the anomaly map. Set `result->struct_size` before the call.
 *
 * If `image->region` is set, only that part of the image is scored, as `adflow_session_score_within` does. Nothing is
 * allocated on the CPU. For the same pixels, the command line gives the same score, map and verdict, bit for bit. `map` and
 * `result` must not overlap the image or each other; on failure they are left as they were. Errors: NULL, ARGUMENT, IMAGE,
 * NO_MAP, BUSY, DEVICE, TIMED_OUT. Thread class: local to the session.
 */
enum adflow_status adflow_session_score(struct adflow_session *session,
                                        const struct adflow_image *image,
                                        const struct adflow_map *map,
                                        struct adflow_result *result);

/**
 * Scores a part of an image, as `adflow_session_score` does for the whole: the pixels at which every channel of `region`, a
 * mask image of the same size, is at least half of white. NULL: the whole image.
 *
 * If the model was trained with a region of interest, only pixels inside both count. Pixels outside do not change a bit of
 * score or map, and the map is 0 there. The session must have been made with `regions`. A model that was trained without
 * a region may find the edge of the region anomalous, so let the edge run through the background. Set `result->struct_size`
 * before the call.
 *
 * Errors: NULL, ARGUMENT (also if no pixel of the region is left at the model's resolution), IMAGE, NO_MAP, BUSY, DEVICE,
 * TIMED_OUT. Thread class: local to the session.
 */
enum adflow_status adflow_session_score_within(struct adflow_session *session,
                                               const struct adflow_image *image,
                                               const struct adflow_image *region,
                                               const struct adflow_map *map,
                                               struct adflow_result *result);

/**
 * Replaces the threshold of this session only. NULL removes it: verdicts are then NONE.
 *
 * Errors: NULL, ARGUMENT, BUSY. Thread class: local to the session.
 */
enum adflow_status adflow_session_set_threshold(struct adflow_session *session,
                                                const struct adflow_threshold *threshold);

/**
 * Limits the time of each later call of this session to `microseconds`, up to 2^31 - 1. 0: no limit, the default.
 *
 * A call that would take longer returns TIMED_OUT within a millisecond of the limit and leaves map and result as they were;
 * the session stays usable. The time is checked between steps of the work on the CPU. A GPU finishes the work it was given,
 * and once the map is computed it is written to the end, so such a call can take longer. Errors: NULL, ARGUMENT, BUSY. Thread
 * class: local to the session.
 */
enum adflow_status adflow_session_set_deadline(struct adflow_session *session,
                                               uint32_t microseconds);

/**
 * Copies the message of the last call on this session that failed, on any thread; "" if none has failed. BUSY does not count
 * as a failure here.
 *
 * `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_session_error_copy(const struct adflow_session *session,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *length);

/**
 * Frees a session, its threads and its memory; NULL does nothing.
 *
 * No other thread may be using the session. Thread class: local to the session.
 */
void adflow_session_free(struct adflow_session *session);

/**
 * Makes a trainer. `options` may be NULL for all defaults.
 *
 * Free the trainer with `adflow_trainer_free`. Errors: NULL, ARGUMENT, IMAGE, WEIGHTS, DEVICE. Thread class: reentrant.
 */
enum adflow_status adflow_trainer_new(const struct adflow_train_options *options,
                                      struct adflow_trainer **trainer);

/**
 * Adds a copy of an image of a good part. Messages refer to it by `name`, UTF-8, or by its number if `name` is NULL.
 *
 * `image->region` must be NULL. On failure nothing is added. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread
 * class: local to the trainer.
 */
enum adflow_status adflow_trainer_add_image(struct adflow_trainer *trainer,
                                            const struct adflow_image *image,
                                            const char *name);

/**
 * Adds a copy of an image of a defective part, for training with `contrastive_epochs`. Messages refer to it by `name`,
 * UTF-8, or by its number if `name` is NULL.
 *
 * Do not test the model on this image or on other images of the same part. `image->region` must be NULL. On failure nothing
 * is added. Errors: NULL, ARGUMENT, IMAGE, BUSY, OUT_OF_MEMORY. Thread class: local to the trainer.
 */
enum adflow_status adflow_trainer_add_defect(struct adflow_trainer *trainer,
                                             const struct adflow_image *image,
                                             const char *name);

/**
 * Trains a model on the images added so far. `progress` may be NULL; it is passed `user_data`.
 *
 * The trainer keeps its images and can run again, for example to resume a cancelled training. Free the model with
 * `adflow_model_free`. Errors: NULL, BUSY, CANCELLED, TOO_FEW_IMAGES, TRAINING, IMAGE, ARGUMENT, CHECKPOINT, IO, DEVICE.
 * Thread class: local to the trainer.
 */
enum adflow_status adflow_trainer_run(struct adflow_trainer *trainer,
                                      adflow_progress_fn progress,
                                      void *user_data,
                                      struct adflow_model **model);

/**
 * Copies the message of the last call on this trainer that failed, on any thread; "" if none has failed. BUSY does not count
 * as a failure here.
 *
 * `buffer`, `capacity` and `length` are as for `adflow_last_error_copy`. Errors: NULL. Thread class: reentrant.
 */
enum adflow_status adflow_trainer_error_copy(const struct adflow_trainer *trainer,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *length);

/**
 * Frees a trainer and its images; NULL does nothing.
 *
 * No other thread may be using the trainer. Do not call this from the progress callback of the same trainer. Thread class:
 * local to the trainer.
 */
void adflow_trainer_free(struct adflow_trainer *trainer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ADFLOW_H */
