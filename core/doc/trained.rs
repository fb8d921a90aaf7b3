// For examples: 12 grey photographs of a part, 64×64 pixels, and a model trained on them.
{
    let photograph = |n: u32| {
        let noise = |p: u32| (p + 9973 * n).wrapping_mul(0x9E37_79B1) >> 28;
        let pixel = |p: u32| (80 + (p % 64) * (p / 64) / 40 + noise(p)) as u8;
        adflow::Image::grey(64, 64, (0..64 * 64).map(pixel).collect()).expect("64×64 samples")
    };
    let good: Vec<adflow::Image> = (0..12).map(photograph).collect();
    let trained = adflow::Trainer::new().size(64).train(&good).expect("images that differ");
    (good, adflow::model::OwnedModel::from_bytes(&trained.model).expect("a model"))
}
