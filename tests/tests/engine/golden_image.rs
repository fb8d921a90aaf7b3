//! Images and maps against Pillow, torchvision, SciPy and torch: `golden/image.txt`, made by `golden/make_image.py`.

use adflow::image::{
    ImageView, Plane, PlaneMut, Preprocess, gaussian_blur, gaussian_blur_scratch_len, resize_bilinear, rotate_cubic,
    rotate_nearest,
};

fn pixel(width: usize, height: usize, channel: usize) -> Vec<u8> {
    let at = |i: usize| (i % width, i / width);
    (0..width * height)
        .map(|i| {
            let (x, y) = at(i);
            ((x * 37 + y * 91 + channel * 53 + x * y * 7 + x * x * 3) % 256) as u8
        })
        .collect()
}

fn floats(width: usize, height: usize) -> Vec<f32> {
    pixel(width, height, 0).into_iter().map(f32::from).collect()
}

fn resized(width: usize, height: usize, size: u32, channels: u32, view: &ImageView<'_>) -> Vec<f32> {
    let mut preprocess = Preprocess::new(size, channels);
    preprocess.scale = [255.0; 3];
    let mut scratch = vec![f32::NAN; preprocess.scratch_len(width as u32, height as u32)];
    let mut out = vec![f32::NAN; preprocess.output_len()];
    preprocess.apply(view, &mut scratch, &mut out).unwrap();
    out
}

#[test]
fn image_operations_agree_with_their_peers() {
    let golden = include_str!("../../golden/image.txt");
    let mut cases = 0;
    for line in golden.lines() {
        let (case, numbers) = line.split_once(" | ").unwrap();
        let want: Vec<f64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
        let mut words = case.split(' ');
        let operation = words.next().unwrap();
        let a: Vec<f64> = words.map(|w| w.parse().unwrap()).collect();
        let (width, height) = (a[0] as usize, a[1] as usize);
        let mut out = vec![0.0; width * height];
        // Tolerance, and the share of pixels that may exceed it.
        let (got, tolerance, share) = match operation {
            "resize_float" => {
                let bytes = pixel(width, height, 0);
                let view = ImageView::grey_u8(width as u32, height as u32, &bytes).unwrap();
                (resized(width, height, a[2] as u32, 1, &view), 1e-4, 0.0)
            }
            // Pillow rounds to bytes after each of the two passes.
            "resize_rgb8" => {
                let planes: Vec<Vec<u8>> = (0..3).map(|c| pixel(width, height, c)).collect();
                let bytes: Vec<u8> = (0..3 * width * height).map(|i| planes[i % 3][i / 3]).collect();
                let view = ImageView::rgb_u8(width as u32, height as u32, &bytes).unwrap();
                (resized(width, height, a[2] as u32, 3, &view), 1.01, 0.0)
            }
            // torchvision finds the source in f32, so that it may round the other way halfway between two pixels.
            "rotate_nearest" => {
                rotate_nearest(width, height, a[2], &[-7.0], &floats(width, height), &mut out);
                (out, 0.0, 0.01)
            }
            "rotate_cubic" => {
                rotate_cubic(width, height, a[2], &mut floats(width, height), &mut out);
                (out, 5e-4, 0.0)
            }
            "gaussian_blur" => {
                let sigma = a[2] as f32;
                out = floats(width, height);
                let mut scratch = vec![f32::NAN; gaussian_blur_scratch_len(width, height, sigma)];
                gaussian_blur(width, height, sigma, &mut out, &mut scratch);
                (out, 2e-4, 0.0)
            }
            "resize_map" => {
                let (w, h) = (a[2] as usize, a[3] as usize);
                out = vec![0.0; w * h];
                resize_bilinear(Plane::new(width, height, &floats(width, height)), PlaneMut::new(w, h, &mut out));
                (out, 1e-4, 0.0)
            }
            other => panic!("unknown operation {other}"),
        };
        assert_eq!(got.len(), want.len(), "{case}");
        let off: Vec<usize> = (0..want.len())
            .filter(|&i| {
                let error = (f64::from(got[i]) - want[i]).abs();
                error > tolerance || error.is_nan()
            })
            .collect();
        if off.len() as f64 > share * want.len() as f64 {
            let i = off[0];
            panic!(
                "{case}: {} of {} pixels off; [{i}] is {}, peer has {}, tolerance {tolerance}",
                off.len(),
                want.len(),
                got[i],
                want[i]
            );
        }
        cases += 1;
    }
    assert!(cases >= 40, "only {cases} cases in golden/image.txt");
}
