//! What a person sees while work goes on: a bar with the time left on a terminal, a plain line now and then otherwise.
//! Everything here goes to standard error; standard output carries results only.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use adflow::model::Model;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines of one stage.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// A stage of known length. Dropping it removes the bar.
#[derive(Debug)]
pub struct Stage {
    what: String,
    total: usize,
    bar: Option<ProgressBar>,
    plain: Mutex<Plain>,
}

#[derive(Debug)]
struct Plain {
    started: Instant,
    last: Instant,
}

impl Stage {
    /// Starts a stage of `total` steps.
    pub fn new(what: &str, total: usize) -> Self {
        let now = Instant::now();
        let plain = Mutex::new(Plain { started: now, last: now });
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>18} {bar:30} {pos}/{len}  {eta} left  {msg}");
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(what.to_string());
            bar
        });
        if bar.is_none() {
            eprintln!("{what}: {total}");
        }
        Self { what: what.to_string(), total, bar, plain }
    }

    /// Tells how far the stage is.
    pub fn set(&self, done: usize) {
        self.set_with(done, "");
    }

    /// Tells how far the stage is, with a few words about it.
    pub fn set_with(&self, done: usize, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            if !words.is_empty() {
                bar.set_message(words.to_string());
            }
            return;
        }
        let mut plain = self.plain.lock().unwrap_or_else(|e| e.into_inner());
        if done == 0 || plain.last.elapsed() < PLAIN_EVERY {
            return;
        }
        plain.last = Instant::now();
        let left = plain.started.elapsed().as_secs_f64() * (self.total.saturating_sub(done)) as f64 / done as f64;
        let words = if words.is_empty() { String::new() } else { format!(", {words}") };
        eprintln!("{}: {done}/{}, {} left{words}", self.what, self.total, seconds(left));
    }

    /// Prints a line above the bar.
    pub fn note(&self, text: &str) {
        note_on(self.bar.as_ref(), text);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn note_on(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.suspend(|| eprintln!("note: {text}")),
        None => eprintln!("note: {text}"),
    }
}

/// Prints a line that is not an error.
pub fn note(text: &str) {
    note_on(None, text);
}

/// `4.2 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
        s => format!("{} h {} min", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

/// `830 bytes`, `1.9 MB`.
pub fn bytes(n: usize) -> String {
    match n as f64 {
        n if n < 1e4 => format!("{n} bytes"),
        n if n < 1e6 => format!("{:.0} kB", n / 1e3),
        n if n < 1e9 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} GB", n / 1e9),
    }
}

/// What a model reads: `448x448`, or `8000x2000 in 126 tiles of 512x512`.
pub fn input(model: &Model<'_>) -> String {
    let (side, (width, height)) = (model.input_size(), model.canvas());
    match model.tiles().map(|tiles| tiles.tiling().count()) {
        None => format!("{side}x{side}"),
        Some(count) => format!("{width}x{height} in {count} tiles of {side}x{side}"),
    }
}

/// Four significant digits without an exponent where that is readable.
pub fn short(x: f64) -> String {
    match x.abs() {
        a if !a.is_finite() => format!("{x}"),
        0.0 => "0".into(),
        a if !(1e-4..1e7).contains(&a) => format!("{x:.3e}"),
        a => format!("{x:.*}", (3 - a.log10().floor() as i32).clamp(0, 7) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([seconds(4.21), seconds(200.0), seconds(7500.0)], ["4.2 s", "3 min 20 s", "2 h 5 min"]);
        assert_eq!([bytes(830), bytes(1_900_000)], ["830 bytes", "1.9 MB"]);
        assert_eq!([short(3.14236), short(1234.5), short(0.0), short(-0.012345)], ["3.142", "1234", "0", "-0.01235"]);
    }
}
