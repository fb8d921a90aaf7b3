//! The embedded backbone against its formulas in f64, and what it was made to see and not to see.

use adflow::backbones::{Backbone, Pooling};
use adflow::graph::Graph;
use adflow::params::Params;
use adflow::shape::Shape;
use adflow_tests::made_weights::image;
use adflow_tests::owned::run_graph;

#[test]
fn builtin_needs_no_file_and_takes_any_size() {
    let backbone = Backbone::builtin();
    assert_eq!((backbone.name(), backbone.digest()), ("builtin", Backbone::builtin().digest()));
    for (h, w) in [(64, 64), (37, 50)] {
        let (mut g, mut params) = (Graph::new(), Params::new());
        let x = g.input("image", Shape::chw(3, h, w));
        let taps: Vec<&str> = backbone.taps().iter().map(|t| t.name).collect();
        let mut outputs = backbone.emit(&mut g, &mut params, "", x, &taps).unwrap();
        outputs.push(backbone.pooled(&mut g, &mut params, "", x, 2, backbone.pooled_taps(), Pooling::Mean).unwrap());
        for (at, (shape, map)) in run_graph(&mut g, &params, &image(h, w), 1, &outputs).into_iter().enumerate() {
            assert!(map.iter().all(|v| v.is_finite()), "{at}");
            if let Some(tap) = backbone.taps().get(at) {
                assert_eq!(shape, Shape::chw(tap.channels, h.div_ceil(tap.stride), w.div_ceil(tap.stride)), "{tap:?}");
            }
        }
    }
}

/// A plane in f64, zero outside.
#[derive(Clone)]
struct Plane {
    h: usize,
    w: usize,
    data: Vec<f64>,
}

impl Plane {
    fn at(&self, y: isize, x: isize) -> f64 {
        let inside = (0..self.h as isize).contains(&y) && (0..self.w as isize).contains(&x);
        if inside { self.data[y as usize * self.w + x as usize] } else { 0.0 }
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Plane {
        Plane { data: self.data.iter().map(|&v| f(v)).collect(), ..*self }
    }

    /// Every second point, rounded up, as a function of the points around it: `f(value at (dy, dx))`.
    fn halve(&self, f: impl Fn(&dyn Fn(isize, isize) -> f64) -> f64) -> Plane {
        let (h, w) = (self.h.div_ceil(2), self.w.div_ceil(2));
        let point = |i: usize| {
            let (y, x) = (2 * (i / w) as isize, 2 * (i % w) as isize);
            f(&|dy, dx| self.at(y + dy, x + dx))
        };
        Plane { h, w, data: (0..h * w).map(point).collect() }
    }

    /// Stride 2 with a filter of odd side given by formula.
    fn filter(&self, reach: isize, f: &dyn Fn(f64, f64) -> f64) -> Plane {
        let points = || (-reach..=reach).flat_map(move |y| (-reach..=reach).map(move |x| (y, x)));
        self.halve(|at| points().map(|(y, x)| f(x as f64, y as f64) * at(y, x)).sum())
    }
}

fn root(v: f64) -> f64 {
    (v.max(0.0) + 1e-6).sqrt()
}

/// So many levels of the grey pyramid as the formulas say, in f64, on the grid of the last: maxima, then means.
fn pyramid(image: &[f32], h: usize, w: usize, levels: usize) -> [Vec<Plane>; 2] {
    let sample = |c: usize, i: usize| f64::from(image[c * h * w + i]);
    let grey = |i: usize| 0.25 * sample(0, i) + 0.5 * sample(1, i) + 0.25 * sample(2, i) + 0.02;
    let tone = Plane { h, w, data: (0..h * w).map(|i| root(root(root(grey(i))))).collect() };
    let mean = tone.data.iter().sum::<f64>() / (h * w) as f64;
    let mut level = tone.map(|v| v - mean);
    let gaussian = |s: f64| move |x: f64, y: f64| (-(x * x + y * y) / (2.0 * s * s)).exp();
    let total = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        (-3..=3).flat_map(|y| (-3..=3).map(move |x| (x, y))).map(|(x, y)| f(f64::from(x), f64::from(y))).sum()
    };
    let (mut max, mut mean): (Vec<Plane>, Vec<Plane>) = (Vec::new(), Vec::new());
    for _ in 0..levels {
        let mut own = Vec::new();
        for i in 0..4 {
            let (sin, cos) = (std::f64::consts::PI * f64::from(i) / 4.0).sin_cos();
            let xi = std::f64::consts::FRAC_PI_2;
            let envelope = move |x: f64, y: f64| {
                let (u, v) = (x * cos + y * sin, 0.7 * (y * cos - x * sin));
                (-(u * u + v * v) / (2.0 * 1.3 * 1.3)).exp()
            };
            let sum = total(&envelope);
            let dc = total(&|x, y| envelope(x, y) * (xi * (x * cos + y * sin)).cos()) / sum;
            let re = level.filter(3, &|x, y| 8.0 / sum * envelope(x, y) * ((xi * (x * cos + y * sin)).cos() - dc));
            let im = level.filter(3, &|x, y| 8.0 / sum * envelope(x, y) * (xi * (x * cos + y * sin)).sin());
            let data = re.data.iter().zip(&im.data).map(|(a, b)| (a * a + b * b + 1e-12).sqrt()).collect();
            own.push(Plane { data, ..re });
        }
        let surround = total(&gaussian(1.5));
        let spot = |x: f64, y: f64| f64::from(x == 0.0 && y == 0.0) - gaussian(1.5)(x, y) / surround;
        let scale = 8.0 / total(&|x, y| spot(x, y).abs());
        let spots = level.filter(3, &|x, y| scale * spot(x, y));
        own.extend([spots.map(|v| v.max(0.0)), spots.map(|v| (-v).max(0.0))]);
        let low = total(&gaussian(1.0));
        level = level.filter(3, &|x, y| gaussian(1.0)(x, y) / low);
        let ring = || (-1..=1).flat_map(|y| (-1..=1).map(move |x| (y, x)));
        // Features are not negative, so that zero outside does not change a maximum.
        max = max.iter().map(|p| p.halve(|at| ring().map(|(y, x)| at(y, x)).fold(0.0, f64::max))).collect();
        mean = mean.iter().map(|p| p.filter(1, &|x, y| (0.5 - 0.25 * x.abs()) * (0.5 - 0.25 * y.abs()))).collect();
        max.extend(own.iter().cloned());
        mean.extend(own);
    }
    [max, mean]
}

/// Maps of `builtin` for an image.
fn builtin(image: &[f32], h: u32, w: u32, taps: &[&str]) -> Vec<Vec<f32>> {
    let (mut g, mut params) = (Graph::new(), Params::new());
    let x = g.input("image", Shape::chw(3, h, w));
    let outputs = Backbone::builtin().emit(&mut g, &mut params, "", x, taps).unwrap();
    run_graph(&mut g, &params, image, 1, &outputs).into_iter().map(|(_, map)| map).collect()
}

#[test]
fn builtin_is_what_its_formulas_say() {
    for (h, w) in [(64, 64), (75, 50)] {
        let picture: Vec<f32> = image(h, w).iter().map(|v| 0.5 + 0.5 * v).collect();
        // Maxima and means of four levels; means of three.
        for (tap, levels, kinds) in [("builtin.fine", 4, 0..2), ("builtin.texture", 3, 1..2)] {
            let planes = pyramid(&picture, h as usize, w as usize, levels);
            let want: Vec<f64> = planes[kinds].iter().flatten().flat_map(|p| &p.data).map(|v| root(*v)).collect();
            let got = &builtin(&picture, h, w, &[tap])[0];
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!((f64::from(*got) - want).abs() < 2e-5, "{tap} {h}×{w} at {i}: {got}, {want}");
            }
        }
    }
}

#[test]
fn builtin_sees_colour_in_the_colour_tap_only_and_hardly_sees_exposure() {
    let (h, w) = (96, 96);
    let n = (h * w) as usize;
    let plain: Vec<f32> = image(h, w)[..n].iter().map(|v| 0.4 + 0.1 * v).collect();
    let grey: Vec<f32> = plain.iter().chain(&plain).chain(&plain).copied().collect();
    let taps = ["builtin.coarse", "builtin.colour"];
    let good = builtin(&grey, h, w, &taps);
    assert!(good[1].iter().all(|v| *v == good[1][0]), "grey has no colour");
    // A red stain of the same grey value: 0.25·R + 0.5·G + 0.25·B stays.
    let mut stained = grey.clone();
    for (y, x) in (40..56).flat_map(|y| (40..56).map(move |x| (y, x))) {
        stained[y * w as usize + x] += 0.1;
        stained[n + y * w as usize + x] -= 0.05;
    }
    let stain = builtin(&stained, h, w, &taps);
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(&stain[0], &good[0]) < 1e-3 && far(&stain[1], &good[1]) > 0.1);
    // A quarter less light; contrast in plain samples would fall by a quarter, so its root by an eighth.
    let darker: Vec<f32> = grey.iter().map(|v| 0.75 * v).collect();
    let dark = builtin(&darker, h, w, &["builtin.coarse"]);
    for (a, b) in dark[0].iter().zip(&good[0]).filter(|(_, b)| **b > 0.1) {
        assert!((a / b - 1.0).abs() < 0.04, "{a} {b}");
    }
}
