//! The report: one HTML page that needs nothing else, so that it can be mailed, archived and opened in ten years.
//!
//! It answers one question at the top, "would I let this model sort my parts?", and shows the evidence below: charts,
//! classes, pictures (mistakes first), how the model was made, how the figures were measured.

mod charts;
mod compare;
mod gallery;

pub use compare::page as comparison_page;

use std::fmt::Write;

use adflow::metrics;
use adflow::threshold::Verdict;

use crate::evaluate::{AtThreshold, Evaluation, Figures, Shot};
use crate::failure::Outcome;
use crate::heatmap::{self, LAST_LEVEL};
use crate::progress::{self, short};
use crate::promise;

/// The whole page.
pub fn page(e: &Evaluation) -> Outcome<String> {
    let f = &e.figures;
    let name = f.data.file_name().map_or_else(|| f.data.display().to_string(), |n| n.to_string_lossy().into_owned());
    let mut body = header(e);
    body += &tiles(f);
    body += &chart_section(e);
    body += &class_section(f);
    body += &gallery_section(e)?;
    body += &facts_section(e);
    Ok(document(&format!("adflow report: {name}"), &body))
}

/// A page around a body of HTML.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{}</style>\n\
         </head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css")
    )
}

fn header(e: &Evaluation) -> String {
    let f = &e.figures;
    let (class, badge, why) = judgement(f);
    format!(
        "<header>\n<p>adflow report &middot; {} &middot; {} on {}</p>\n<h1>{}</h1>\n\
         <p><span class=\"badge {class}\">{badge}</span> {why}</p>\n</header>\n",
        escape(&f.data.display().to_string()),
        escape(&f.method),
        escape(&f.backbone),
        headline(f)
    )
}

fn headline(f: &Figures) -> String {
    let (good, bad) = (f.images.good, f.images.defective);
    match &f.at_threshold {
        None => format!("Scores for {good} good and {bad} defective parts; the model has no threshold"),
        Some(at) if bad == 0 => {
            format!("Rejects {} of {good} good parts; no defective parts to find", at.false_rejects)
        }
        Some(at) if good == 0 => {
            format!("Finds {} of {bad} defective parts; no good parts to compare", bad - at.missed)
        }
        Some(at) => {
            let unsure = if at.unsure > 0 { format!(", unsure about {}", at.unsure) } else { String::new() };
            format!(
                "Finds {} of {bad} defective parts, rejects {} of {good} good ones{unsure}",
                bad - at.missed,
                at.false_rejects
            )
        }
    }
}

/// Style, word and reason of the verdict on the model. The limits are ours: below 0.85 a ranking confuses more than it
/// sorts, above 0.95 the rest is a matter of the threshold.
fn judgement(f: &Figures) -> (&'static str, &'static str, String) {
    let Some(auroc) = f.image_auroc else {
        return ("warn", "not measurable", "Good and defective test images are both needed to judge a model.".into());
    };
    let Some(at) = f.at_threshold else {
        return (
            "warn",
            "no verdicts",
            format!("It ranks a defective part above a good one {} of the time.", percent(auroc)),
        );
    };
    let missed = at.missed as f64 / f.images.defective.max(1) as f64;
    let rejected = at.false_rejects as f64 / f.images.good.max(1) as f64;
    let ranks = format!("It ranks a defective part above a good one {} of the time", percent(auroc));
    if auroc < 0.85 {
        (
            "stop",
            "do not use",
            format!("{ranks}: scores of good and defective parts overlap too much for any threshold."),
        )
    } else if missed > 0.2 || rejected > 0.2 {
        let what = if missed > 0.2 { "too many defects pass" } else { "too many good parts are rejected" };
        ("stop", "not yet", format!("{ranks}, but with this threshold {what}."))
    } else if auroc < 0.95 || missed > 0.05 || rejected > 0.05 {
        ("warn", "promising", format!("{ranks}. Look at the mistakes below before you rely on it."))
    } else {
        ("ok", "trustworthy on these images", format!("{ranks}. Check that the colours below lie on the defects."))
    }
}

fn tiles(f: &Figures) -> String {
    let mut html = String::from("<div class=\"tiles\">\n");
    let mut tile = |value: String, words: String| {
        let _ = writeln!(html, "<div class=\"tile\"><b>{value}</b><span>{words}</span></div>");
    };
    let interval = f.image_auroc_interval.map_or(String::new(), |[a, b]| format!("<br>95 % interval {a:.3} to {b:.3}"));
    tile(figure(f.image_auroc), format!("image AUROC{interval}"));
    if let Some(AtThreshold { missed, false_rejects, .. }) = f.at_threshold {
        tile(format!("{missed} / {}", f.images.defective), "defects missed".into());
        let bound =
            if f.images.good > 0 { format!("<br>{}", bound(false_rejects, f.images.good)) } else { String::new() };
        tile(format!("{false_rejects} / {}", f.images.good), format!("good parts rejected{bound}"));
    }
    tile(figure(f.aupro), format!("AUPRO: defects located<br>pixel AUROC {}", figure(f.pixel_auroc)));
    let ms = &f.ms_per_image;
    tile(
        format!("{:.1} ms", ms.p50),
        format!("per image, {} threads<br>p99 {:.1}, max {:.1}", f.threads, ms.p99, ms.max),
    );
    html + "</div>\n"
}

/// What k of n rejected good parts say about the line: the 95 % upper limit (Clopper and Pearson).
fn bound(k: usize, n: usize) -> String {
    let below = |rate: f64| {
        let mut term = (1.0 - rate).powi(n as i32);
        let mut sum = term;
        for i in 0..k {
            term *= (n - i) as f64 / (i + 1) as f64 * rate / (1.0 - rate);
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (k as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) > 0.05 { low = middle } else { high = middle }
    }
    format!("with 95 % confidence below {}", percent(high))
}

fn chart_section(e: &Evaluation) -> String {
    let split = |defective: bool| -> Vec<f32> {
        e.shots.iter().filter(|s| s.image.defective == defective).map(|s| s.score).collect()
    };
    let (good, bad) = (split(false), split(true));
    let scores: Vec<f32> = e.shots.iter().map(|s| s.score).collect();
    let labels: Vec<bool> = e.shots.iter().map(|s| s.image.defective).collect();
    let mut html = format!(
        "<h2>Scores</h2>\n<p class=\"words\">Threshold {}.</p>\n<div class=\"panels\">\n<div class=\"panel\">\n\
         <div class=\"key\"><span><i style=\"background:var(--good)\"></i>good ({})</span>\
         <span><i style=\"background:var(--bad)\"></i>defective ({})</span></div>\n{}</div>\n",
        escape(&promise::describe(e.threshold)),
        good.len(),
        bad.len(),
        charts::histogram(&good, &bad, e.threshold.as_ref())
    );
    let points = metrics::roc(&scores, &labels);
    if !points.is_empty() {
        let at = e.threshold.map(|t| {
            let share =
                |s: &[f32]| s.iter().filter(|&&x| t.verdict(x) == Verdict::Defective).count() as f64 / s.len() as f64;
            (share(&good), share(&bad))
        });
        let _ = writeln!(html, "<div class=\"panel\">\n{}</div>", charts::roc(&points, at, e.figures.image_auroc));
    }
    html + "</div>\n"
}

fn class_section(f: &Figures) -> String {
    let mut html = String::from(
        "<h2>Classes</h2>\n<p class=\"words\">Each kind of defect against all good parts.</p>\n<div class=\"scroll\"><table>\n\
         <tr><th>class</th><th>images</th><th>judged defective</th><th>image AUROC</th><th>pixel AUROC</th>\
         <th>pixel AP</th><th>AUPRO</th><th>scores</th></tr>\n",
    );
    for (name, class) in f.classes_good_first() {
        let rejected = class.rejected.map_or("–".into(), |n| {
            let unsure = class.unsure.filter(|&n| n > 0).map_or(String::new(), |n| format!(" + {n} unsure"));
            format!("{n}{unsure} ({})", percent(n as f64 / class.images.max(1) as f64))
        });
        let range = match (class.lowest_score, class.highest_score) {
            (Some(a), Some(b)) => format!("{} to {}", short(a.into()), short(b.into())),
            _ => "–".into(),
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{rejected}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{range}</td></tr>",
            escape(name),
            class.images,
            figure(class.image_auroc),
            figure(class.pixel_auroc),
            figure(class.pixel_ap),
            figure(class.aupro)
        );
    }
    let _ = writeln!(
        html,
        "<tr class=\"sum\"><td>all</td><td>{}</td><td></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td></td></tr>",
        f.images.good + f.images.defective,
        figure(f.image_auroc),
        figure(f.pixel_auroc),
        figure(f.pixel_ap),
        figure(f.aupro)
    );
    html + "</table></div>\n"
}

fn gallery_section(e: &Evaluation) -> Outcome<String> {
    let mut html = format!(
        "<h2>Pictures</h2>\n<p class=\"words\">Left the photograph, right what the model sees in it. One scale for all \
         pictures: below the limit a pixel looks like those of good parts. The bright outline is where the data set says \
         the defect is.</p>\n{}",
        scale_legend(e)
    );
    for group in gallery::groups(e) {
        let _ = writeln!(
            html,
            "<h3>{}</h3>\n<p class=\"words\">{}</p>\n<div class=\"gallery\">",
            escape(&group.title),
            escape(&group.words)
        );
        for shot in group.shots {
            html += &card(shot, e)?;
        }
        html += "</div>\n";
    }
    Ok(html)
}

fn card(shot: &Shot, e: &Evaluation) -> Outcome<String> {
    let pictures = gallery::pictures(shot, e)?;
    let (class, words) = match (shot.verdict, shot.image.defective) {
        (None, _) => ("", ""),
        (Some(Verdict::Unsure), _) => ("unsure", "unsure"),
        (Some(Verdict::Good), false) => ("right", "judged good"),
        (Some(Verdict::Defective), true) => ("right", "judged defective"),
        (Some(Verdict::Good), true) => ("wrong", "missed"),
        (Some(Verdict::Defective), false) => ("wrong", "falsely rejected"),
    };
    let file = shot.image.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = escape(&format!("{}/{file}", shot.image.class));
    let (w, h) = pictures.size;
    Ok(format!(
        "<div class=\"card {class}\"><div class=\"pair\"><img width=\"{w}\" height=\"{h}\" alt=\"{name}\" src=\"{}\">\
         <img width=\"{w}\" height=\"{h}\" alt=\"heat map of {name}\" src=\"{}\"></div>\
         <p>score {} <b>{words}</b><small>{name}</small></p></div>\n",
        pictures.photograph,
        pictures.heat,
        short(shot.score.into())
    ))
}

/// The colours over a mid grey, from typical to eight times the limit.
fn scale_legend(e: &Evaluation) -> String {
    const STEPS: usize = 96;
    // A third of the bar for what good parts have, the rest for the doublings beyond.
    const CALM: f32 = 0.34;
    let mut svg = String::from(
        "<svg class=\"chart scale\" shape-rendering=\"crispEdges\" viewBox=\"0 0 520 54\" role=\"img\" aria-label=\"Colour scale\">\n",
    );
    for i in 0..STEPS {
        let t = (i as f32 + 0.5) / STEPS as f32;
        let level = if t < CALM { t / CALM } else { LAST_LEVEL.powf((t - CALM) / (1.0 - CALM)) };
        let (colour, alpha) = heatmap::colour(level);
        let [r, g, b] = colour.map(|c| (150.0 * (1.0 - alpha) + c * alpha) as u8);
        let _ = writeln!(
            svg,
            "<rect x=\"{:.2}\" y=\"0\" width=\"{:.2}\" height=\"18\" fill=\"rgb({r},{g},{b})\"/>",
            10.0 + 500.0 * i as f64 / STEPS as f64,
            500.0 / STEPS as f64 + 0.3
        );
    }
    let value = |level: f32| e.scale.typical + level * (e.scale.limit - e.scale.typical);
    for (t, level, words) in [
        (0.0, 0.0, "typical"),
        (CALM, 1.0, "limit of good parts"),
        (CALM + (1.0 - CALM) / 3.0, 2.0, "2 ×"),
        (CALM + (1.0 - CALM) * 2.0 / 3.0, 4.0, "4 ×"),
        (1.0, LAST_LEVEL, "8 × or more"),
    ] {
        let x = 10.0 + 500.0 * t;
        let anchor = if t == 0.0 {
            "start"
        } else if t == 1.0 {
            "end"
        } else {
            "middle"
        };
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" y2=\"23\"/>\
             <text x=\"{x:.1}\" y=\"35\" text-anchor=\"{anchor}\" class=\"mark\">{words}</text>\
             <text x=\"{x:.1}\" y=\"49\" text-anchor=\"{anchor}\">{}</text>",
            short(value(level).into())
        );
    }
    svg + "</svg>\n"
}

fn facts_section(e: &Evaluation) -> String {
    let f = &e.figures;
    let mut html =
        String::from("<h2>How it was made and measured</h2>\n<div class=\"scroll\"><table class=\"facts\">\n");
    let mut row = |key: &str, value: &str| {
        let _ = writeln!(html, "<tr><td>{}</td><td>{}</td></tr>", escape(key), escape(value));
    };
    row("model", &f.model.as_ref().map_or("not kept".into(), |path| path.display().to_string()));
    row("method", &f.method);
    row("backbone", &f.backbone);
    row("input", &format!("{0} x {0}, map {1} x {2}", f.input_size, e.map_size.0, e.map_size.1));
    row("threshold", &promise::describe(e.threshold));
    if let Some(seconds) = f.train_seconds {
        row("training time", &progress::seconds(seconds));
    }
    for (key, value) in &e.about {
        row(key, value);
    }
    row(
        "image figures",
        "AUROC with ties counting half; interval: bootstrap over images, 1000 draws; AP without interpolation",
    );
    row(
        "F1-max",
        &format!(
            "{} at score {} (has seen the labels: a figure, not a threshold to use)",
            figure(f.f1_max),
            figure(f.f1_max_threshold)
        ),
    );
    row("pixel figures", f.pixel_protocol);
    row("time per image", "decoded camera buffer to verdict, one image at a time, after warm-up");
    row("adflow", adflow::VERSION);
    html += "</table></div>\n";
    if !e.notes.is_empty() {
        html += "<h3>Notes on the data</h3>\n<ul>\n";
        for text in &e.notes {
            let _ = writeln!(html, "<li>{}</li>", escape(text));
        }
        html += "</ul>\n";
    }
    html
}

fn figure(x: Option<f64>) -> String {
    x.map_or("–".into(), |x| format!("{x:.3}"))
}

fn percent(share: f64) -> String {
    let p = share * 100.0;
    if p > 0.0 && p < 9.95 || p > 90.05 && p < 100.0 { format!("{p:.1} %") } else { format!("{p:.0} %") }
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_clopper_and_pearson() {
        // 1 − 0.05^(1/40) = 7.2 %; scipy.stats.beta.ppf(0.95, 3, 98) for 2 of 100 = 6.16 %.
        assert!(bound(0, 40).ends_with("7.2 %"), "{}", bound(0, 40));
        assert!(bound(2, 100).ends_with("6.2 %"), "{}", bound(2, 100));
        assert!(bound(3, 3).ends_with("100 %"), "{}", bound(3, 3));
    }

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escape("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
    }
}
