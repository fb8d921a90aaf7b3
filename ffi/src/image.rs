//! Images, regions and maps in the caller's memory, checked and turned into views of the core.
//!
//! In C, strides are bytes of either sign, counted from the top-left pixel; a view of the core counts samples from the lowest
//! address. The conversion is done here, in integers that cannot overflow.

use crate::failure::{Failure, fail};
use crate::guard::{Caller, Versioned, choice, one_of};
use adflow_core::image::{ChannelOrder, ImageView, Plane, Region, SampleType, Samples, Span, resize_row};
use core::ffi::c_void;
use core::mem::{offset_of, size_of};

/// Channels of an image, in the order in which their samples or planes are stored.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_channels {
    /// One channel, grey.
    Grey = 0,
    /// Red, green, blue.
    Rgb = 1,
    /// Blue, green, red.
    Bgr = 2,
    /// Red, green, blue, and a fourth channel that is ignored.
    Rgba = 3,
    /// Blue, green, red, and a fourth channel that is ignored.
    Bgra = 4,
}

impl adflow_channels {
    fn new(number: u32) -> Result<adflow_channels, Failure> {
        one_of(&[Self::Grey, Self::Rgb, Self::Bgr, Self::Rgba, Self::Bgra], number, "image.channels", "adflow_channels")
    }
}

/// How `adflow_region` describes a region.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum adflow_region_kind {
    /// A rectangle: `x`, `y`, `width` and `height`.
    Rectangle = 0,
    /// Run lengths, as in a HALCON domain: `runs` and `run_count`.
    Runs = 1,
    /// A mask image: `mask`.
    Mask = 2,
}

impl adflow_region_kind {
    fn new(number: u32) -> Result<adflow_region_kind, Failure> {
        one_of(&[Self::Rectangle, Self::Runs, Self::Mask], number, "image.region.kind", "adflow_region_kind")
    }
}

/// One run of a region: the pixels of one row from column `first` to column `last`, both included.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_run {
    /// Row, counted from 0 at the top.
    pub row: i32,
    /// Leftmost column, counted from 0.
    pub first: i32,
    /// Rightmost column, at least `first`.
    pub last: i32,
}

const _: () = assert!(size_of::<adflow_run>() == size_of::<Span>() && offset_of!(adflow_run, last) == 8);

/// Part of an image, in pixel coordinates of that image. Whatever lies outside the image is ignored.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_region {
    /// sizeof(adflow_region).
    pub struct_size: u32,
    /// One of `adflow_region_kind`.
    pub kind: u32,
    /// Left column of the rectangle, counted from 0; may be negative.
    pub x: i32,
    /// Top row of the rectangle, counted from 0; may be negative.
    pub y: i32,
    /// Width of the rectangle in pixels, at least 1.
    pub width: u32,
    /// Height of the rectangle in pixels, at least 1.
    pub height: u32,
    /// Runs, ordered by row and then by column; runs must not overlap. Only read if `kind` is RUNS.
    pub runs: *const adflow_run,
    /// Number of runs.
    pub run_count: usize,
    /// Image of the same size: a pixel is inside if every channel is at least half of white. Only read if `kind` is MASK.
    pub mask: *const adflow_image,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_region {
    const NAME: &'static str = "adflow_region";
    const LEAST: usize = offset_of!(adflow_region, runs);
}

/// The region of an image, after its description has been checked.
pub(crate) enum Part<'c> {
    Rectangle { top: Span, rows: u32, of: (u32, u32) },
    Runs(Region<'c>),
    Mask(ImageView<'c>),
}

impl<'c> Part<'c> {
    /// Checks the region of an image; `None` if the image has none.
    pub fn of(c: &'c Caller, image: &adflow_image) -> Result<Option<Part<'c>>, Failure> {
        if image.region.is_null() {
            return Ok(None);
        }
        let r = c.read("image.region", image.region)?;
        let of = (image.width, image.height);
        if of.0 == 0 || of.1 == 0 {
            return Err(fail!(Image, "the image has {}x{} pixels", of.0, of.1));
        }
        let part = match adflow_region_kind::new(r.kind)? {
            adflow_region_kind::Rectangle if r.width == 0 || r.height == 0 => {
                return Err(fail!(Argument, "image.region: the rectangle has {}x{} pixels", r.width, r.height));
            }
            adflow_region_kind::Rectangle => {
                let last = i64::from(r.x) + i64::from(r.width) - 1;
                let last = i32::try_from(last).unwrap_or(i32::MAX);
                Part::Rectangle { top: Span { row: r.y, first: r.x, last }, rows: r.height, of }
            }
            adflow_region_kind::Runs => {
                let spans: &[Span] = c.slice("image.region.runs", r.runs.cast(), r.run_count)?;
                let runs = Region::spans(of.0, of.1, spans);
                Part::Runs(runs.ok_or_else(|| {
                    fail!(Argument, "image.region: the runs are not ordered by row and column, or overlap")
                })?)
            }
            adflow_region_kind::Mask => {
                let mask = c.read("image.region.mask", r.mask)?;
                if !mask.region.is_null() {
                    return Err(fail!(Argument, "image.region.mask: the mask of a region cannot have a region itself"));
                }
                Part::Mask(mask.view(c)?)
            }
        };
        Ok(Some(part))
    }

    /// The region as the core takes it.
    pub fn region(&self) -> Region<'_> {
        match self {
            Part::Rectangle { top, rows, of } => Region::rectangle(of.0, of.1, top, *rows),
            Part::Runs(runs) => *runs,
            Part::Mask(mask) => Region::Mask(mask),
        }
    }
}

/// An image in the caller's memory, of any layout; the pixels are not copied. Zero in a field means its default.
///
/// `{.struct_size = sizeof(adflow_image), .width = w, .height = h, .data = p}` describes an 8-bit grey image without padding.
/// Only pixels are read, never padding, but the memory from the first to the last pixel must not change during a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_image {
    /// sizeof(adflow_image).
    pub struct_size: u32,
    /// Type of the samples, one of `adflow_samples`. 0: 8 bits.
    pub samples: u32,
    /// Channels and their order, one of `adflow_channels`. 0: grey.
    pub channels: u32,
    /// Width in pixels, at least 1.
    pub width: u32,
    /// Height in pixels, at least 1.
    pub height: u32,
    /// Value of a white sample; 4095 for a 12-bit camera in U16. 0: 255 for U8, 65535 for U16, 1 for F32.
    pub white: f32,
    /// First sample of the top-left pixel, in the first plane if the image is planar.
    pub data: *const c_void,
    /// Bytes from one row to the row below; negative if rows are stored bottom-up. 0: rows without padding.
    pub row_stride: isize,
    /// Bytes from a pixel to its right neighbour; negative if rows are stored right to left. 0: pixels without padding.
    pub pixel_stride: isize,
    /// Bytes from one plane to the next. 0: channels are interleaved, or `plane_2` and `plane_3` are set.
    pub plane_stride: isize,
    /// Second plane of a colour image whose planes are separate allocations, as in HALCON; otherwise NULL.
    pub plane_2: *const c_void,
    /// Third plane of a colour image whose planes are separate allocations, as in HALCON; otherwise NULL.
    pub plane_3: *const c_void,
    /// Part of the image to score; the session must have been made with `regions`. NULL: the whole image.
    pub region: *const adflow_region,
}

// SAFETY: `repr(C)`, the size first, and every pattern of bits is a number or a pointer.
unsafe impl Versioned for adflow_image {
    const NAME: &'static str = "adflow_image";
    const LEAST: usize = offset_of!(adflow_image, row_stride);
}

/// An anomaly map in the caller's memory: one float for each pixel, larger where the image is more anomalous.
///
/// The map may have any size; the map that the model computes is resized to it by bilinear interpolation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct adflow_map {
    /// sizeof(adflow_map).
    pub struct_size: u32,
    /// Width in values, at least 1; usually the width of the image.
    pub width: u32,
    /// Height in values, at least 1; usually the height of the image.
    pub height: u32,
    /// Top-left value; `width` values are written in each row, padding is left as it is.
    pub data: *mut f32,
    /// Bytes from one row to the row below; negative if rows are stored bottom-up. 0: rows without padding.
    pub row_stride: isize,
}

// SAFETY: as above.
unsafe impl Versioned for adflow_map {
    const NAME: &'static str = "adflow_map";
    const LEAST: usize = offset_of!(adflow_map, row_stride);
}

/// The bytes of one plane, `least..end`, counted from its top-left sample.
struct Reach {
    least: i128,
    end: i128,
}

impl Reach {
    fn new(width: u32, height: u32, pixel: isize, row: isize, item: i128) -> Reach {
        let right = i128::from(width - 1) * pixel as i128;
        let down = i128::from(height - 1) * row as i128;
        Reach { least: right.min(0) + down.min(0), end: right.max(0) + down.max(0) + item }
    }
}

/// Whether runs of `run` bytes do not overlap if they start `stride` bytes apart.
fn apart(stride: isize, run: i128) -> bool {
    (stride as i128).abs() >= run
}

impl adflow_image {
    /// Checks the description and makes a view of the pixels.
    pub(crate) fn view<'c>(&self, c: &'c Caller) -> Result<ImageView<'c>, Failure> {
        let samples: SampleType = choice(self.samples, "image.samples")?;
        let size = samples.bytes() as isize;
        let (order, stored) = match adflow_channels::new(self.channels)? {
            adflow_channels::Grey => (ChannelOrder::Grey, 1),
            adflow_channels::Rgb => (ChannelOrder::Rgb, 3),
            adflow_channels::Bgr => (ChannelOrder::Bgr, 3),
            adflow_channels::Rgba => (ChannelOrder::Rgb, 4),
            adflow_channels::Bgra => (ChannelOrder::Bgr, 4),
        };
        let (width, height) = (self.width, self.height);
        if width == 0 || height == 0 {
            return Err(fail!(Image, "the image has {width}x{height} pixels"));
        }
        let white = if self.white == 0.0 { samples.white() } else { self.white };
        let grey = order == ChannelOrder::Grey;
        let separate = !self.plane_2.is_null() || !self.plane_3.is_null();
        if separate && (grey || self.plane_stride != 0) {
            return Err(fail!(Argument, "image: plane_2 and plane_3 are only for colour images with plane_stride 0"));
        }
        let planar = separate || grey || self.plane_stride != 0;
        let stored = if planar { 1 } else { stored };
        let pixel = if self.pixel_stride == 0 { stored * size } else { self.pixel_stride };
        let row = if self.row_stride == 0 {
            let tight = i128::from(width) * (pixel as i128).abs();
            isize::try_from(tight)
                .map_err(|_| fail!(Image, "an image of {width} pixels a row does not fit in memory"))?
        } else {
            self.row_stride
        };
        for (name, stride) in [("pixel_stride", pixel), ("row_stride", row), ("plane_stride", self.plane_stride)] {
            if stride % size != 0 {
                return Err(fail!(
                    Argument,
                    "image.{name} is {stride} bytes, not a multiple of {size} for samples of type {samples}"
                ));
            }
        }
        let item = (if planar { 1 } else { order.channels() as i128 }) * size as i128;
        let (rows, columns) = (i128::from(height), i128::from(width));
        let by_rows = apart(pixel, item) && (rows == 1 || apart(row, (columns - 1) * (pixel as i128).abs() + item));
        let by_columns = apart(row, item) && (columns == 1 || apart(pixel, (rows - 1) * (row as i128).abs() + item));
        if !by_rows && !by_columns {
            return Err(fail!(
                Argument,
                "image: pixels overlap: row_stride is {row} and pixel_stride {pixel} bytes, for {width} pixels of {item} bytes"
            ));
        }
        let plane = if grey || separate { 0 } else { self.plane_stride };
        let mut reach = Reach::new(width, height, pixel, row, item);
        reach.least += 2 * (plane as i128).min(0);
        reach.end += 2 * (plane as i128).max(0);
        let origin = (-reach.least / size as i128) as usize;
        let samples = |name, data| plane_samples(c, samples, name, data, &reach);
        let (pixel, row) = (pixel / size, row / size);
        let view = if separate {
            let planes =
                [samples("data", self.data)?, samples("plane_2", self.plane_2)?, samples("plane_3", self.plane_3)?];
            ImageView::planes(planes, width, height, order, origin, pixel, row, white)
        } else {
            let plane = if planar { plane / size } else { 1 };
            ImageView::new(samples("data", self.data)?, width, height, order, origin, pixel, row, plane, white)
        };
        view.map_err(|error| fail!(Image, "{error}"))
    }
}

/// The samples of one plane as a slice that starts at the plane's lowest address.
fn plane_samples<'c>(
    c: &'c Caller,
    samples: SampleType,
    field: &str,
    data: *const c_void,
    reach: &Reach,
) -> Result<Samples<'c>, Failure> {
    if data.is_null() {
        return Err(fail!(Null, "image.{field} is NULL"));
    }
    let outside = || fail!(Image, "image.{field}: an image of that size and strides does not fit in memory");
    let whole = isize::try_from(reach.least).ok().zip(isize::try_from(reach.end - reach.least).ok());
    let (least, bytes) = whole.map(|(least, bytes)| (least, bytes as usize)).ok_or_else(outside)?;
    // Strides that reach below address 0 or beyond the end of memory are wrong.
    let lowest = (data as usize).checked_add_signed(least).filter(|at| *at != 0);
    lowest.and_then(|at| at.checked_add(bytes)).ok_or_else(outside)?;
    let start = data.wrapping_byte_offset(least);
    Ok(match samples {
        SampleType::U8 => Samples::U8(c.slice("image.data", start.cast(), bytes)?),
        SampleType::U16 => Samples::U16(c.slice("image.data", start.cast(), bytes / 2)?),
        SampleType::F32 => Samples::F32(c.slice("image.data", start.cast(), bytes / 4)?),
    })
}

/// A checked map. It is written row by row, so that padding between rows is never touched.
pub(crate) struct MapTarget<'c> {
    map: adflow_map,
    row_stride: isize,
    caller: &'c Caller,
}

impl<'c> MapTarget<'c> {
    /// Checks the description of a map; `None` for NULL.
    pub fn new(c: &'c Caller, map: *const adflow_map) -> Result<Option<MapTarget<'c>>, Failure> {
        if map.is_null() {
            return Ok(None);
        }
        let map = c.read("map", map)?;
        if map.width == 0 || map.height == 0 {
            return Err(fail!(Argument, "the map has {}x{} values", map.width, map.height));
        }
        if map.data.is_null() {
            return Err(fail!(Null, "map.data is NULL"));
        }
        let value = size_of::<f32>() as i128;
        let tight = i128::from(map.width) * value;
        let row = if map.row_stride == 0 { tight } else { map.row_stride as i128 };
        if row % value != 0 || (map.height > 1 && row.abs() < tight) {
            return Err(fail!(Argument, "map.row_stride is {row} bytes for rows of {tight} bytes"));
        }
        let down = i128::from(map.height - 1) * row;
        let at = |bytes: i128| usize::try_from(map.data as usize as i128 + bytes).is_ok();
        let fits = isize::try_from(down.abs() + tight).is_ok() && at(down) && at(down.max(0) + tight);
        match isize::try_from(row) {
            Ok(row_stride) if fits => {
                c.part_mut("map.data", map.data, map.width as usize)?;
                let lowest = (map.data as usize).wrapping_add_signed(down.min(0) as isize);
                c.claim("map.data", lowest, (down.abs() + tight) as usize, true)?;
                Ok(Some(MapTarget { map, row_stride, caller: c }))
            }
            _ => Err(fail!(Argument, "a map of {}x{} values does not fit in memory", map.width, map.height)),
        }
    }

    /// Resizes the map of the model to the caller's size and writes it.
    pub fn write(self, own: &Plane<'_>) -> Result<(), Failure> {
        let (width, height) = (self.map.width as usize, self.map.height as usize);
        for y in 0..height {
            let start = self.map.data.wrapping_byte_offset(self.row_stride.wrapping_mul(y as isize));
            resize_row(own, height, y, self.caller.part_mut("map.data", start, width)?);
        }
        Ok(())
    }
}
