//! Status codes and their texts.

use core::ffi::CStr;

/// Outcome of a call. Numbers never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub enum adflow_status {
    /// The call succeeded.
    Ok = 0,
    /// A required pointer is NULL.
    Null = 1,
    /// An argument or a field of a struct is out of range.
    Argument = 2,
    /// The image is empty, wider than the session allows, inconsistently described, or has a pixel that is NaN or infinite.
    Image = 3,
    /// The data is not a model, is damaged, or was written by a version that this library cannot read.
    Model = 4,
    /// A file could not be read or written.
    Io = 5,
    /// Nothing has the requested name or index.
    NotFound = 6,
    /// A struct sets a field that this version of the library does not know.
    Unsupported = 7,
    /// A map was requested, but the model or the session makes none.
    NoMap = 8,
    /// Another thread or a callback is using the object.
    Busy = 9,
    /// The progress callback cancelled the training.
    Cancelled = 10,
    /// There are too few training images.
    TooFewImages = 11,
    /// Training failed: all images are identical, or the loss became NaN or infinite.
    Training = 12,
    /// The checkpoint was made with other images or options, or is damaged.
    Checkpoint = 13,
    /// The backbone file cannot be used.
    Weights = 14,
    /// The buffer is too small; the required length has been written.
    BufferTooSmall = 15,
    /// Not enough memory.
    OutOfMemory = 16,
    /// A bug in adflow. The objects passed to the call remain valid.
    Internal = 17,
    /// The requested GPU does not exist, lacks a required capability, or has failed permanently.
    Device = 18,
    /// The deadline of the session passed before the image was scored.
    TimedOut = 19,
    /// The handle was freed before, or is of another type. Only debug builds of the library detect this.
    Handle = 20,
}

impl adflow_status {
    /// A short English description, also of numbers that are no status.
    pub(crate) const fn text(number: u32) -> &'static CStr {
        match number {
            0 => c"done",
            1 => c"NULL pointer",
            2 => c"argument out of range",
            3 => c"unusable image",
            4 => c"not a valid model",
            5 => c"file cannot be read or written",
            6 => c"not found",
            7 => c"not supported by this version",
            8 => c"no map available",
            9 => c"object in use",
            10 => c"cancelled",
            11 => c"too few images",
            12 => c"training failed",
            13 => c"unusable checkpoint",
            14 => c"unusable weights",
            15 => c"buffer too small",
            16 => c"out of memory",
            17 => c"internal error",
            18 => c"no usable device",
            19 => c"timed out",
            20 => c"invalid handle",
            _ => c"unknown status",
        }
    }
}
