//! The charts of the reports as inline SVG: score histogram, ROC curve, methods side by side. Colours come from the page's style sheet,
//! so that they follow its light and dark theme.

use std::fmt::Write;

use adflow::metrics::RocPoint;
use adflow::threshold::Threshold;

use crate::progress::short;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
const BINS: usize = 48;

/// Where a score lies on the axis: straight, or squeezed by `asinh` where defects score many times what good parts do.
struct Axis {
    centre: f64,
    unit: Option<f64>,
    low: f64,
    high: f64,
}

impl Axis {
    fn new(good: &[f32], all: &[f32], marks: &[f64]) -> Self {
        let sorted = |s: &[f32]| {
            let mut v: Vec<f64> = s.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite()).collect();
            v.sort_by(f64::total_cmp);
            v
        };
        let (base, all) = (sorted(if good.is_empty() { all } else { good }), sorted(all));
        let quantile = |q: f64| base.get(((base.len().max(1) - 1) as f64 * q) as usize).copied().unwrap_or(0.0);
        let centre = quantile(0.5);
        let spread = (quantile(0.95) - quantile(0.05)).max(1e-12);
        let ends = marks.iter().chain(all.first()).chain(all.last());
        let (least, most) = ends.fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
        let unit = (most - least > 12.0 * spread).then_some(spread);
        let mut axis = Self { centre, unit, low: 0.0, high: 1.0 };
        let (a, b) = (axis.bend(least), axis.bend(most));
        let margin = ((b - a) * 0.03).max(1e-9);
        (axis.low, axis.high) = (a - margin, b + margin);
        axis
    }

    fn bend(&self, x: f64) -> f64 {
        self.unit.map_or(x, |unit| ((x - self.centre) / unit).asinh())
    }

    /// 0..1 along the axis.
    fn place(&self, x: f64) -> f64 {
        ((self.bend(x) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn unbend(&self, t: f64) -> f64 {
        let x = self.low + t * (self.high - self.low);
        self.unit.map_or(x, |unit| self.centre + unit * x.sinh())
    }

    /// Round values about `count` apart over the axis.
    fn ticks(&self, count: usize) -> Vec<f64> {
        let mut ticks: Vec<f64> = Vec::new();
        for i in 0..=count {
            let t = i as f64 / count as f64;
            let step = self.unbend((t + 0.5 / count as f64).min(1.0)) - self.unbend((t - 0.5 / count as f64).max(0.0));
            let round = round_step(step);
            let x = (self.unbend(t) / round).round() * round;
            let apart = ticks.last().is_none_or(|&last| self.place(x) - self.place(last) > 0.6 / count as f64);
            if apart && self.bend(x) >= self.low && self.bend(x) <= self.high {
                ticks.push(if x.abs() < round * 1e-6 { 0.0 } else { x });
            }
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, at most `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.abs().max(1e-300).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|m| m * power).find(|s| *s <= step * 1.0001).unwrap_or(power)
}

/// Scores of good parts upwards, of defective ones downwards, with the threshold between them.
pub fn histogram(good: &[f32], defective: &[f32], threshold: Option<&Threshold>) -> String {
    let marks: Vec<f64> = threshold.iter().flat_map(|t| [Some(t.reject), t.accept]).flatten().map(f64::from).collect();
    let all: Vec<f32> = good.iter().chain(defective).copied().collect();
    let axis = Axis::new(good, &all, &marks);
    let count = |scores: &[f32]| {
        let mut bins = [0usize; BINS];
        for &s in scores {
            bins[((axis.place(s.into()) * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        bins
    };
    let (up, down) = (count(good), count(defective));
    let tallest = |bins: &[usize]| bins.iter().copied().max().unwrap_or(0).max(1) as f64;
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let half = plot_height / 2.0 - 1.0;
    let middle = TOP + plot_height / 2.0;
    let x_at = |x: f64| LEFT + axis.place(x) * plot_width;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Histogram of scores\">\n"
    );
    for (bins, class, sign) in [(&up, "good", -1.0), (&down, "bad", 1.0)] {
        let scale = half / tallest(bins);
        for (i, &n) in bins.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (x, w) = (LEFT + i as f64 * plot_width / BINS as f64, plot_width / BINS as f64 - 1.0);
            let h = (n as f64 * scale).max(1.5);
            let y = if sign < 0.0 { middle - 0.5 - h } else { middle + 0.5 };
            let (from, to) = (axis.unbend(i as f64 / BINS as f64), axis.unbend((i + 1) as f64 / BINS as f64));
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\">\
                 <title>{n} images from {} to {}</title></rect>",
                short(from),
                short(to)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>",
        WIDTH - RIGHT
    );
    let text = |svg: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str| {
        let _ =
            writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
    };
    text(&mut svg, LEFT - 6.0, middle - half + 8.0, "label", "end", &format!("{}", tallest(&up)));
    if !defective.is_empty() {
        text(&mut svg, LEFT - 6.0, middle + half, "label", "end", &format!("{}", tallest(&down)));
    }
    text(&mut svg, LEFT - 6.0, middle + 4.0, "label", "end", "0");
    for tick in axis.ticks(8) {
        let x = x_at(tick);
        let y = HEIGHT - BOTTOM;
        let _ = writeln!(svg, "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\"/>", y + 4.0);
        text(&mut svg, x, y + 16.0, "label", "middle", &tick_label(tick));
    }
    let name = if axis.unit.is_some() { "score (axis squeezed outwards)" } else { "score" };
    text(&mut svg, LEFT + plot_width / 2.0, HEIGHT - 6.0, "label", "middle", name);
    if let Some(t) = threshold {
        for (limit, word) in [(Some(t.reject), "reject above"), (t.accept, "unsure above")] {
            let Some(limit) = limit else { continue };
            let x = x_at(limit.into());
            let y = if word.starts_with('r') { TOP - 20.0 } else { TOP - 6.0 };
            let _ = writeln!(
                svg,
                "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                y + 4.0,
                HEIGHT - BOTTOM
            );
            let anchor = if x > WIDTH * 0.75 { "end" } else { "start" };
            text(&mut svg, x, y, "mark", anchor, &format!("{word} {}", short(limit.into())));
        }
    }
    svg + "</svg>\n"
}

fn tick_label(x: f64) -> String {
    let text = short(x);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// The ROC curve, with the point where the model's threshold puts it.
pub fn roc(points: &[RocPoint], at: Option<(f64, f64)>, auroc: Option<f64>) -> String {
    const SIDE: f64 = 260.0;
    const EDGE: f64 = 36.0;
    let plot = SIDE - EDGE - 12.0;
    let place = |fpr: f64, tpr: f64| (EDGE + fpr * plot, 12.0 + (1.0 - tpr) * plot);
    let mut line = String::new();
    for p in points {
        let (x, y) = place(p.false_positive_rate, p.true_positive_rate);
        let _ = write!(line, "{}{x:.1},{y:.1}", if line.is_empty() { "" } else { " " });
    }
    let (x0, y0) = place(0.0, 0.0);
    let (x1, y1) = place(1.0, 1.0);
    let mut svg =
        format!("<svg class=\"chart\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"ROC curve\">\n");
    let _ = writeln!(svg, "<polygon class=\"under\" points=\"{line} {x1:.1},{y0:.1} {x0:.1},{y0:.1}\"/>");
    let _ = writeln!(svg, "<line class=\"chance\" x1=\"{x0}\" y1=\"{y0}\" x2=\"{x1}\" y2=\"{y1}\"/>");
    let _ = writeln!(svg, "<polyline class=\"curve\" points=\"{line}\"/>");
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{x0} {y1}V{y0}H{x1}\"/>");
    for tick in [0.0, 0.5, 1.0] {
        let (x, y) = place(tick, tick);
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            y0 + 14.0
        );
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            x0 - 5.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">good parts rejected</text>",
        EDGE + plot / 2.0,
        SIDE - 2.0
    );
    let _ = writeln!(
        svg,
        "<text class=\"label\" transform=\"translate(10 {}) rotate(-90)\" text-anchor=\"middle\">defects found</text>",
        12.0 + plot / 2.0
    );
    if let Some(auroc) = auroc {
        let (x, y) = place(0.97, 0.08);
        let _ =
            writeln!(svg, "<text class=\"big\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">AUROC {auroc:.3}</text>");
    }
    if let Some((fpr, tpr)) = at {
        let (x, y) = place(fpr, tpr);
        let _ = writeln!(
            svg,
            "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>the model's threshold</title></circle>"
        );
    }
    svg + "</svg>\n"
}

/// One line a method: its figure as a point with its interval, up to 1.
pub fn intervals(rows: &[(&str, f64, Option<[f64; 2]>)]) -> String {
    const ROW: f64 = 26.0;
    const NAMES: f64 = 110.0;
    let lowest = rows.iter().map(|(_, x, interval)| interval.map_or(*x, |[low, _]| low.min(*x))).fold(1.0, f64::min);
    let from = (((lowest - 0.005) * 20.0).floor() / 20.0).clamp(0.0, 0.95);
    let plot = WIDTH - NAMES - 60.0;
    let place = |x: f64| NAMES + (x - from) / (1.0 - from) * plot;
    let bottom = ROW * rows.len() as f64 + 6.0;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Methods side by side\">\n",
        bottom + 22.0
    );
    for tick in 0..=4 {
        let value = from + (1.0 - from) * f64::from(tick) / 4.0;
        let x = place(value);
        let _ = writeln!(
            svg,
            "<line class=\"chance\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{bottom}\"/>\
             <text class=\"label\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 15.0,
            tick_label(value)
        );
    }
    for (i, (name, x, interval)) in rows.iter().enumerate() {
        let y = ROW * (i as f64 + 0.5) + 3.0;
        let _ = writeln!(
            svg,
            "<text class=\"mark\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <text class=\"label\" x=\"{}\" y=\"{:.1}\">{x:.3}</text>",
            NAMES - 10.0,
            y + 4.0,
            WIDTH - 48.0,
            y + 4.0
        );
        if let Some([low, high]) = interval {
            let _ = writeln!(
                svg,
                "<line class=\"curve\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                place(*low),
                place(*high)
            );
        }
        let _ = writeln!(svg, "<circle class=\"point\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>", place(*x));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_a_few_round_ticks_inside() {
        for (good, bad) in [(vec![1.0, 1.1, 1.2], vec![1.5, 2.0]), (vec![0.01, 0.02, 0.03], vec![5.0, 4000.0])] {
            let all: Vec<f32> = good.iter().chain(&bad).copied().collect();
            let axis = Axis::new(&good, &all, &[]);
            let ticks = axis.ticks(8);
            assert!((4..=12).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.windows(2).all(|p| p[0] < p[1]), "{ticks:?}");
        }
    }

    #[test]
    fn charts_survive_odd_scores() {
        for scores in [vec![], vec![1.0], vec![f32::NAN, f32::INFINITY, 3.0], vec![2.0; 9]] {
            let svg = histogram(&scores, &[], Some(&Threshold::manual(2.0)));
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{svg}");
        }
        assert!(roc(&[], None, None).contains("<svg"));
    }
}
