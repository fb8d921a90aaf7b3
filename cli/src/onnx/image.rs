//! From the camera's image to the input of the plan: resize, order of channels, normalisation, tiles, region, views.
//!
//! Rows and columns are resized by one matrix each, which also picks the rows and columns of overlapping tiles; order of
//! channels, luma and normalisation are one 1×1 convolution. What the plan then sees is N×C×S×S, N being tiles or views.

use adflow::image::{CanvasWindow, ChannelOrder, RoiBits, SampleType, rotate_nearest, view_d4};
use adflow::model::{Model, ViewKind};

use super::graph::{GraphBuilder, Tensor, int};
use super::matrix::Matrix;
use super::proto::element;

/// Luma of ITU-R BT.601.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// What the exported graph is given.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Type of samples.
    pub sample: SampleType,
    /// Order of channels.
    pub order: ChannelOrder,
    /// Whether the channels of a pixel lie side by side: 1×H×W×C in place of 1×C×H×W.
    pub nhwc: bool,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Input {
    /// Channels.
    pub fn channels(&self) -> usize {
        self.order.channels()
    }

    /// ONNX's number of the type of samples.
    pub fn element(&self) -> i32 {
        match self.sample {
            SampleType::U8 => element::UINT8,
            SampleType::U16 => element::UINT16,
            SampleType::F32 => element::FLOAT,
        }
    }

    /// Extents of the tensor.
    pub fn dims(&self) -> Vec<usize> {
        let (h, w, c) = (self.height as usize, self.width as usize, self.channels());
        if self.nhwc { vec![1, h, w, c] } else { vec![1, c, h, w] }
    }
}

/// Windows of the canvas that the plan sees, in order.
pub fn windows(model: &Model<'_>) -> Vec<CanvasWindow> {
    match model.tiles() {
        Some(tiles) => (0..tiles.tiling().count()).map(|tile| tiles.tiling().window(tile)).collect(),
        None => vec![CanvasWindow::whole(model.input_size())],
    }
}

/// Which pixels of each window are kept; `None`: all. The region is stretched to an image of this extent.
pub fn kept(model: &Model<'_>, input: &Input) -> Option<Vec<Vec<bool>>> {
    let roi: RoiBits<'_> = model.roi()?;
    let size = model.input_size();
    let mut scratch = vec![0.0; 4 * roi.width() as usize];
    let keep = |window: &CanvasWindow| {
        let mut keep = vec![1.0; (size as usize).pow(2)];
        roi.keep((input.width, input.height), window, size, &mut scratch, &mut keep);
        keep.iter().map(|k| *k != 0.0).collect()
    };
    Some(windows(model).iter().map(keep).collect())
}

/// Windows × C × S × S, normalised and blank outside the region.
pub fn prepare(
    g: &mut GraphBuilder,
    model: &Model<'_>,
    input: &Input,
    image: &Tensor,
    kept: Option<&[Vec<bool>]>,
) -> Tensor {
    g.scope("preprocess");
    let mut x = image.clone();
    if input.sample != SampleType::F32 {
        x = g.node("Cast", &[&x], vec![int("to", element::FLOAT as usize)], x.dims.clone());
    }
    if input.nhwc {
        x = g.transpose(&x, &[0, 3, 1, 2]);
    }
    let (size, canvas) = (model.input_size() as usize, model.canvas());
    let (across, down) = model.tiles().map_or((1, 1), |t| (t.tiling().across(), t.tiling().down()));
    let windows = windows(model);
    let rows: Vec<usize> = (0..down)
        .flat_map(|row| (0..size).map(move |i| (row, i)))
        .map(|(row, i)| windows[row * across].row(i))
        .collect();
    let columns: Vec<usize> =
        windows[..across].iter().flat_map(|window| (0..size).map(move |i| window.column(i))).collect();
    let rows = Matrix::shrink(input.height, canvas.1, &rows).times(1.0 / f64::from(input.sample.white()));
    let columns = Matrix::shrink(input.width, canvas.0, &columns);
    x = g.resample(&x, &rows, &columns);
    x = normalise(g, model, input.order, &x);
    if windows.len() > 1 {
        let c = x.dims[1];
        x = g.reshape(&x, &[c, down, size, across, size]);
        x = g.transpose(&x, &[1, 3, 0, 2, 4]);
        x = g.reshape(&x, &[windows.len(), c, size, size]);
    }
    if let Some(kept) = kept {
        let mask = g.flags(&[windows.len(), 1, size, size], &kept.concat());
        x = g.select(&mask, &x, 0.0);
    }
    x
}

/// Channels in the plan's order, scaled and shifted.
fn normalise(g: &mut GraphBuilder, model: &Model<'_>, order: ChannelOrder, x: &Tensor) -> Tensor {
    let how = model.preprocess();
    let (to, from) = (how.channels as usize, x.dims[1]);
    let mut mix = vec![0.0; to * from];
    for c in 0..to {
        for (at, weight) in mix[c * from..][..from].iter_mut().enumerate() {
            let colour = if order == ChannelOrder::Bgr { 2 - at } else { at };
            let share = match (order, to) {
                (ChannelOrder::Grey, _) => 1.0,
                (_, 1) => LUMA[colour],
                _ => f32::from(u8::from(colour == c)),
            };
            *weight = share * how.scale[c];
        }
    }
    let mix = g.floats("normalise", &[to, from, 1, 1], &mix);
    let shift = g.floats("shift", &[to], &how.shift[..to]);
    g.node("Conv", &[x, &mix, &shift], vec![], vec![1, to, x.dims[2], x.dims[3]])
}

/// A symmetry of the square: mirrored along the diagonal first, then rows or columns in reverse.
#[derive(Clone, Copy, Debug)]
pub struct Symmetry {
    transposed: bool,
    rows: bool,
    columns: bool,
}

impl Symmetry {
    /// View number `index`, found by what it does to a square of four pixels.
    pub fn of(index: usize) -> Self {
        let from = [0.0, 1.0, 2.0, 3.0];
        let mut seen = [0.0; 4];
        view_d4(index, 1, 2, &from, &mut seen);
        let all = (0..8).map(|k| Self { transposed: k & 1 != 0, rows: k & 2 != 0, columns: k & 4 != 0 });
        all.into_iter().find(|s| s.corners() == seen).unwrap_or(Self { transposed: false, rows: false, columns: false })
    }

    fn corners(self) -> [f32; 4] {
        core::array::from_fn(|at| {
            let (mut y, mut x) = (at / 2, at % 2);
            (y, x) = (if self.rows { 1 - y } else { y }, if self.columns { 1 - x } else { x });
            if self.transposed { (x * 2 + y) as f32 } else { (y * 2 + x) as f32 }
        })
    }

    /// The view of square planes.
    pub fn apply(self, g: &mut GraphBuilder, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        if self.transposed {
            x = g.transpose(&x, &[0, 1, 3, 2]);
        }
        let back: Vec<usize> = (0..x.dims[2]).rev().collect();
        if self.rows {
            x = g.gather(&x, 2, &back);
        }
        if self.columns {
            x = g.gather(&x, 3, &back);
        }
        x
    }
}

/// Views of an image, V×C×S×S.
pub fn views(g: &mut GraphBuilder, model: &Model<'_>, x: &Tensor) -> Tensor {
    let d = model.detector();
    let count = d.views as usize;
    if count == 1 {
        return x.clone();
    }
    g.scope("views");
    let (channels, size) = (x.dims[1], x.dims[2]);
    match d.view_kind() {
        ViewKind::Symmetries => {
            let views: Vec<Tensor> = (0..count).map(|view| Symmetry::of(view).apply(g, x)).collect();
            g.concat(&views, 0)
        }
        ViewKind::Rotations => {
            // Where each pixel comes from; behind the last is black as it is after normalisation.
            let at: Vec<f32> = (0..size * size).map(|i| (i % size) as f32).collect();
            let row: Vec<f32> = (0..size * size).map(|i| (i / size) as f32).collect();
            let from = [row, at].concat();
            let mut turned = vec![0.0; from.len()];
            let mut index = Vec::with_capacity(count * size * size);
            for view in 0..count {
                let degrees = view as f64 * 360.0 / count as f64;
                rotate_nearest(size, size, degrees, &[-1.0; 2], &from, &mut turned);
                let (rows, columns) = turned.split_at(size * size);
                let source =
                    |(y, x): (&f32, &f32)| if *y < 0.0 { size * size } else { *y as usize * size + *x as usize };
                index.extend(rows.iter().zip(columns).map(source));
            }
            let flat = g.reshape(x, &[1, channels, size * size]);
            let black = g.floats("black", &[1, channels, 1], &model.preprocess().shift[..channels]);
            let flat = g.concat(&[flat, black], 2);
            let turned = g.gather(&flat, 2, &index);
            let turned = g.reshape(&turned, &[channels, count, size, size]);
            g.transpose(&turned, &[1, 0, 2, 3])
        }
    }
}

/// What is kept of each view, for a mask of the image.
pub fn kept_of_view(model: &Model<'_>, view: usize, kept: &[bool]) -> Vec<bool> {
    let d = model.detector();
    let size = d.size as usize;
    let from: Vec<f32> = kept.iter().map(|k| f32::from(u8::from(*k))).collect();
    let mut turned = vec![0.0; from.len()];
    match d.view_kind() {
        ViewKind::Symmetries => view_d4(view, 1, size, &from, &mut turned),
        ViewKind::Rotations => {
            rotate_nearest(size, size, view as f64 * 360.0 / f64::from(d.views), &[0.0], &from, &mut turned);
        }
    }
    turned.iter().map(|k| *k != 0.0).collect()
}
