//! Small complete models, made without training: one with a map from its program, one with a gradient map.

use adflow::backbones::Backbone;
use adflow::flows::DenseFlow;
use adflow::graph::{Graph, TensorId};
use adflow::image::{GridPlace, ImageView, Roi};
use adflow::kernels::activation::Activation;
use adflow::model::{DetectorRecord, MapKind, ModelWriter, TilesRecord, ViewKind};
use adflow::op::{BatchMean, Conv2d, FlowNll, GlobalMean, PositionLinear, SquareSum, TopMean};
use adflow::params::Params;
use adflow::place::{OwnedProgram, Reuse, place};
use adflow::rng::Rng;
use adflow::shape::Shape;
use bytemuck::Zeroable;

/// Side of the input.
pub const SIZE: u32 = 12;
const FEATURES: u32 = 8;

fn random(shape: Shape, seed: u32) -> Vec<f32> {
    let mut rng = Rng::new(21, 0, seed);
    (0..shape.len()).map(|_| rng.range(-0.3..0.3)).collect()
}

/// Image to features 8×6×6.
fn features(g: &mut Graph, params: &mut Params) -> (TensorId, TensorId) {
    features_of(g, params, SIZE)
}

/// Image of another side to features 8×side/2×side/2.
fn features_of(g: &mut Graph, params: &mut Params, side: u32) -> (TensorId, TensorId) {
    let image = g.input("image", Shape::chw(3, side, side));
    let mut param = |name: &str, shape: Shape, seed: u32| {
        params.add(name, shape, false, random(shape, seed)).expect("a new name");
        g.param(params, name).expect("just added")
    };
    let w = param("features.w", Shape([FEATURES, 3, 3, 3]), 1);
    let b = param("features.b", Shape::vector(FEATURES), 2);
    let op = Conv2d::new().stride(2).same(3, side, side).act(Activation::Relu);
    (image, g.emit("features", op, &[image, w, b]).expect("shapes fit"))
}

fn detector(map_kind: MapKind, view_kind: ViewKind, views: u32) -> DetectorRecord {
    DetectorRecord {
        size: SIZE,
        channels: 3,
        scale: [2.0; 3],
        shift: [-1.0; 3],
        views,
        view_kind: view_kind as u32,
        map_kind: map_kind as u32,
        map_width: SIZE,
        map_height: SIZE,
        map_blur: 1.0,
        ..DetectorRecord::zeroed()
    }
}

fn write(detector: DetectorRecord, params: &Params, programs: &[OwnedProgram], roi: Option<&Roi>) -> Vec<u8> {
    write_tiles(detector, params, programs, None, roi)
}

fn write_tiles(
    detector: DetectorRecord,
    params: &Params,
    programs: &[OwnedProgram],
    tiles: Option<TilesRecord>,
    roi: Option<&Roi>,
) -> Vec<u8> {
    let about = vec![("method".to_string(), "test".to_string())];
    let held_out_scores = vec![0.5, 1.0, 2.0];
    let programs = programs.iter().collect();
    let writer = ModelWriter { detector, about, params, held_out_scores, tiles, roi, programs };
    writer.write().unwrap_or_else(|e| panic!("a valid model was meant: {e}"))
}

/// A Gaussian at each position: score and map from program `score`, four views.
pub fn map_model() -> Vec<u8> {
    map_model_within(None)
}

/// The same that looks at a region only.
pub fn map_model_within(roi: Option<&Roi>) -> Vec<u8> {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let (_, x) = features(&mut g, &mut params);
    let [c, h, w, _] = g.shape(x).0;
    let mut param = |name: &str, shape: Shape, seed: u32| {
        params.add(name, shape, false, random(shape, seed)).expect("a new name");
        g.param(&params, name).expect("just added")
    };
    let weight = param("whiten.w", Shape([h * w, c, c, 1]), 3);
    let bias = param("whiten.b", Shape([h * w, c, 1, 1]), 4);
    let white = g.emit("white", PositionLinear {}, &[x, weight, bias]).expect("shapes fit");
    let distance = SquareSum { scale: 1.0, per_position: true, root: true };
    let distance = g.emit("distance", distance, &[white]).expect("shapes fit");
    let score = g.emit("score", TopMean { k: 5 }, &[distance]).expect("shapes fit");
    g.output("map", distance);
    g.output("score", score);
    let plan = place("score", &g, &params.layout(), Reuse::Share).expect("a valid plan");
    let place = DetectorRecord {
        map_steps: h,
        map_first: 0.5,
        map_stride: 2.0,
        ..detector(MapKind::Program, ViewKind::Symmetries, 4)
    };
    write(place, &params, &[plan], roi)
}

/// How [`tiled_model`] cuts images.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Width and height of the canvas.
    pub canvas: (u32, u32),
    /// Side of a tile.
    pub side: u32,
    /// Border that is not the tile's own.
    pub margin: u32,
    /// Positions whose mean is the score; 0: the highest tile's score.
    pub top: u32,
    /// Pixels of the canvas for one of the map.
    pub reduce: u32,
}

/// Twelve tiles.
pub const CUT: Cut = Cut { canvas: (30, 22), side: SIZE, margin: 2, top: 7, reduce: 2 };

/// What joins a score and a map of a tile: one Gaussian for all positions of `x`, whose steps lie `stride` apart.
fn tiled(mut g: Graph, mut params: Params, x: TensorId, cut: Cut, place: GridPlace, roi: Option<&Roi>) -> Vec<u8> {
    let [c, h, ..] = g.shape(x).0;
    let mut param = |name: &str, shape: Shape, seed: u32| {
        params.add(name, shape, false, random(shape, seed)).expect("a new name");
        g.param(&params, name).expect("just added")
    };
    let (w, b) = (param("whiten.w", Shape([c, c, 1, 1]), 3), param("whiten.b", Shape::vector(c), 4));
    let white = g.emit("white", Conv2d::new(), &[x, w, b]).expect("shapes fit");
    let distance = SquareSum { scale: 1.0, per_position: true, root: true };
    let distance = g.emit("distance", distance, &[white]).expect("shapes fit");
    let score = g.emit("score", TopMean { k: 2 }, &[distance]).expect("shapes fit");
    g.output("map", distance);
    g.output("score", score);
    let plan = adflow::place::place("score", &g, &params.layout(), Reuse::Share).expect("a valid plan");
    let (canvas_width, canvas_height) = cut.canvas;
    let Cut { margin, top, reduce, .. } = cut;
    let tiles = TilesRecord { canvas_width, canvas_height, margin, top, reduce, ..TilesRecord::zeroed() };
    let (map_width, map_height) = tiles.map_size();
    let record = DetectorRecord {
        size: cut.side,
        map_width,
        map_height,
        map_steps: h,
        map_first: place.first,
        map_stride: place.stride,
        ..detector(MapKind::Program, ViewKind::Symmetries, 1)
    };
    write_tiles(record, &params, &[plan], Some(tiles), roi)
}

/// A Gaussian shared by all positions of images that are cut into tiles.
pub fn tiled_model(cut: Cut, roi: Option<&Roi>) -> Vec<u8> {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let (_, x) = features_of(&mut g, &mut params, cut.side);
    tiled(g, params, x, cut, GridPlace { first: 0.5, stride: 2.0 }, roi)
}

/// The same on the coarse tap of the backbone that needs no file.
pub fn tiled_builtin(cut: Cut) -> Vec<u8> {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let image = g.input("image", Shape::chw(3, cut.side, cut.side));
    let maps = Backbone::builtin().emit(&mut g, &mut params, "b.", image, &["builtin.coarse"]).expect("a tap");
    tiled(g, params, maps[0], cut, GridPlace { first: 0.0, stride: 32.0 }, None)
}

/// A flow over pooled features: score from program `score`, map from the gradient of program `localize`, three views.
pub fn flow_model() -> Vec<u8> {
    flow_model_within(None)
}

/// The same that looks at a region only.
pub fn flow_model_within(roi: Option<&Roi>) -> Vec<u8> {
    let flow = DenseFlow { dims: FEATURES, blocks: 2, width: 16, clamp: 2.0, zero_last: false };
    let mut params = Params::new();
    flow.init(&mut params, 5).expect("a flow");
    let mut base = Graph::new();
    let (image, x) = features(&mut base, &mut params);
    let pooled = base.emit("pooled", GlobalMean {}, &[x]).expect("shapes fit");
    let (z, j) = flow.forward(&mut base, &params, pooled).expect("a flow");

    let mut g = base.clone();
    let scale = 1.0 / FEATURES as f32;
    let score = g.emit("score", SquareSum { scale, per_position: false, root: false }, &[z]).expect("shapes fit");
    g.output("score", score);
    let score = place("score", &g, &params.layout(), Reuse::Share).expect("a valid plan");

    let mut g = base;
    let nll = g.emit("nll", FlowNll {}, &[z, j]).expect("shapes fit");
    let loss = g.emit("loss", BatchMean {}, &[nll]).expect("shapes fit");
    let gradient = g.backward(loss, &[image]).expect("differentiable")[0].expect("the loss depends on the image");
    g.output("gradient", gradient);
    let localize = place("localize", &g, &params.layout(), Reuse::Share).expect("a valid plan");
    write(detector(MapKind::Gradient, ViewKind::Rotations, 3), &params, &[score, localize], roi)
}

/// A region of the model's input that is neither all nor nothing: a thick L.
pub fn region() -> Roi {
    let side = SIZE as usize;
    let mask: Vec<u8> = (0..side * side).map(|i| if i / side >= 6 || i % side < 7 { 255 } else { 0 }).collect();
    let view = ImageView::grey_u8(SIZE, SIZE, &mask).expect("a mask");
    Roi::from_mask(&view).expect("something is white")
}

/// A region of [`CUT`]'s canvas: a slanted band that leaves whole tiles out.
pub fn tiled_region() -> Roi {
    let (w, h) = CUT.canvas;
    let inside = |i: u32| (i % w) * 2 > i / w && i % w < 12 + (i / w) / 4;
    let mask: Vec<u8> = (0..w * h).map(|i| if inside(i) { 255 } else { 0 }).collect();
    Roi::from_mask(&ImageView::grey_u8(w, h, &mask).expect("a mask")).expect("something is white")
}
