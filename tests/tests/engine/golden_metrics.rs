//! Metrics against scikit-learn and slow code written from the definitions: `golden/metrics.txt`, made by
//! `golden/make_metrics.py`.

use adflow::metrics::{PixelMetrics, Pixels, average_precision, f1_max, image_auroc};

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

fn close(case: &str, what: &str, got: f64, want: f64) {
    assert!((got - want).abs() < 1e-10, "{case}: {what} is {got}, peer has {want}");
}

/// `draw` of the script.
fn map(width: usize, height: usize, image: usize) -> Vec<f32> {
    let value = |x: usize, y: usize| (x * 13 + y * 29 + image * 17 + x * y) % 41;
    (0..width * height).map(|i| value(i % width, i / width) as f32).collect()
}

/// `draw_mask` of the script.
fn mask(width: usize, height: usize, image: usize) -> Vec<u8> {
    let (w, h, n) = (width as i64, height as i64, image as i64);
    let defective = |x: i64, y: i64| {
        let blob = (x - w / 3).pow(2) + (y - h / 2 - n).pow(2) <= (2 + n).pow(2);
        let scratch = x + y == w - 4 - n && y < h / 4;
        let speck = x == w - 2 && y == h - 2;
        n % 3 != 2 && (blob || scratch || speck)
    };
    (0..w * h).map(|i| if defective(i % w, i / w) { 255 } else { 0 }).collect()
}

fn compare(case: &str, got: PixelMetrics, want: &[f64]) {
    close(case, "AUROC", got.auroc, want[0]);
    close(case, "average precision", got.average_precision, want[1]);
    close(case, "F1", got.f1, want[2]);
    close(case, "threshold", f64::from(got.f1_threshold), want[3]);
    close(case, "AUPRO", got.aupro, want[4]);
    assert_eq!(got.regions as f64, want[5], "{case}: regions");
}

#[test]
fn metrics_agree_with_their_peers() {
    let mut cases = 0;
    for line in include_str!("../../golden/metrics.txt").lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let want = numbers(parts[parts.len() - 1]);
        let (kind, arguments) = parts[0].split_once(' ').unwrap();
        let case = parts[0].trim();
        if kind == "image" {
            let scores: Vec<f32> = numbers(parts[1]).into_iter().map(|s| s as f32).collect();
            let labels: Vec<bool> = numbers(parts[2]).into_iter().map(|l| l > 0.0).collect();
            let case = format!("image of {}", scores.len());
            close(&case, "AUROC", image_auroc(&scores, &labels), want[0]);
            close(&case, "average precision", average_precision(&scores, &labels), want[1]);
            let (f1, threshold) = f1_max(&scores, &labels);
            close(&case, "F1", f1, want[2]);
            close(&case, "threshold", f64::from(threshold), want[3]);
        } else {
            let a = numbers(arguments);
            let [w, h, mw, mh, images] = [0, 1, 2, 3, 4].map(|i| a[i] as usize);
            let mut pixels = Pixels::new();
            for image in 0..images {
                let (mut map, mask) = (map(w, h, image), mask(mw, mh, image));
                if kind == "pixels" {
                    let mask: Vec<bool> = mask.iter().map(|&m| m > 0).collect();
                    map.iter_mut().zip(&mask).for_each(|(m, &defective)| *m += if defective { 20.0 } else { 0.0 });
                    pixels.push(w, h, &map, &mask).unwrap();
                } else {
                    pixels.push_resized((w, h), &map, (mw, mh), &mask).unwrap();
                }
            }
            compare(case, pixels.finish(a[5]), &want);
        }
        cases += 1;
    }
    assert_eq!(cases, 12, "cases in golden/metrics.txt");
}
